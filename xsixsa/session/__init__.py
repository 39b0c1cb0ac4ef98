"""The loaded session: the only part of the package that knows an engine."""

from xsixsa.session.fluxes import Fluxes
from xsixsa.session.records import Background, Evaluation, Failure, Observation, Parameter, Reason
from xsixsa.session.session import Session

__all__ = ["Background", "Evaluation", "Failure", "Fluxes", "Observation", "Parameter", "Reason", "Session"]
