"""What every section of a configuration file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of settings that never changes once read, and that takes no key it does not know.

    Rules between fields are field validators (which see the earlier fields in ``info.data``), never a
    validator of the whole: those do not run when any field is wrong, and then their complaint comes one run later.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
