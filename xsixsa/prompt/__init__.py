"""The Python side of the ``sixsa`` command at the XSPEC prompt.

The prompt's process holds the only session. The Tcl side saves it, writes a *hand-over* (a text of one record per line)
and starts ``python -m xsixsa.prompt HANDOVER``, which restores the session, checks that it is the same, runs, and
writes an *answer* of the same form into the run's folder. In between it reports on standard output, one line each.
"""

from xsixsa.prompt.install import install_tcl, script_path

__all__ = ["install_tcl", "script_path"]
