"""BXA, faster: its nested sampling on the part of the prior that holds the posterior, the evidence of all of it.

result = xsixsa.fit(xspec, prior=...)
t = result.bxa(xspec)                      # or xsixsa.bxa.truncate(xspec, prior), in a minute
solver = BXASolver(transformations=t.transformations, prior_function=t.prior_function, outputfiles_basename="bxa")
solver.run()
print(t.evidence(solver.results))          # of the whole prior, with a check of the edges that were cut
"""

from __future__ import annotations

from xsixsa.bxa.comparison import compare_runs, plot_runs
from xsixsa.bxa.edges import Edge, EdgeCheck
from xsixsa.bxa.files import BXARun, read_run
from xsixsa.bxa.make import from_result, truncate
from xsixsa.bxa.region import Region
from xsixsa.bxa.solver import BXAOutcome, run_bxa
from xsixsa.bxa.truncation import Evidence, Truncation

__all__ = [
    "BXAOutcome",
    "BXARun",
    "Edge",
    "EdgeCheck",
    "Evidence",
    "Region",
    "Truncation",
    "compare_runs",
    "from_result",
    "plot_runs",
    "read_run",
    "run_bxa",
    "truncate",
]
