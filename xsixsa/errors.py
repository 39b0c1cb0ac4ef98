"""Errors a user can act on: one clear line each, with the name, the value and the way out."""

from __future__ import annotations

__all__ = [
    "DataError",
    "ModelError",
    "OutputError",
    "PriorError",
    "SessionError",
    "UsageError",
    "WorkerError",
    "XsixsaError",
    "XsixsaWarning",
]


class XsixsaError(Exception):
    """Base of every error that this package raises on purpose."""


class SessionError(XsixsaError):
    """The loaded session cannot be used as it stands (no data, no model, changed while we ran, ...)."""


class DataError(XsixsaError):
    """A file is missing, damaged or does not match the others; names the file and the keyword or column."""


class ModelError(XsixsaError):
    """A model expression, a component or a parameter value that the engine cannot take."""


class PriorError(XsixsaError):
    """A prior that is missing, impossible or set on a parameter that is not free."""


class WorkerError(XsixsaError):
    """Worker processes failed more often than a run can bear."""


class OutputError(XsixsaError):
    """A result cannot be written or read where the caller asked."""


class UsageError(XsixsaError):
    """Options that contradict each other or are out of range."""


class XsixsaWarning(UserWarning):
    """Something the user should know before trusting the result."""
