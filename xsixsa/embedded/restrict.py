"""Objects that refuse attributes they do not have, so that a misspelt setting is no silent one."""

from __future__ import annotations

from typing import ClassVar

from xsixsa.errors import UsageError

__all__ = ["Restricted"]


class Restricted:
    """Base of the session's objects: after construction only existing attributes can be set.

    Attributes
    ----------
    allow_new : bool
        Shared by all; ``Xset.allowNewAttributes``.
    """

    allow_new: ClassVar[list[bool]] = [False]

    def _seal(self) -> None:
        """End the construction."""
        object.__setattr__(self, "_sealed", True)

    def __setattr__(self, name: str, value) -> None:
        known = name in self.__dict__ or hasattr(type(self), name) or name.startswith("_")
        if not known and self.__dict__.get("_sealed") and not Restricted.allow_new[0]:
            raise UsageError(f"{type(self).__name__} has no attribute {name!r}; is it misspelt?")
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str):
        """Reached for what is not there: say that it may be XSPEC's and not this engine's."""
        raise AttributeError(f"{type(self).__name__} of the embedded engine has no {name!r}", name=name, obj=self)
