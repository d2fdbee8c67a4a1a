"""The ``api`` section of tollgate.yaml."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, IPvAnyNetwork, field_validator

from gateway.settings.section import Section


class ApiSettings(Section):
    """Who may call ``/api`` from where, and how often."""

    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins (``https://host[:port]``) may call the API from a browser."""
    calls_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 1200
    """Of one person, or of a team's keys that belong to nobody. A dashboard asks for some ten things a minute."""
    sign_in_failures_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 60
    """Wrong credentials from one address, before it is only told to wait for a minute."""

    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Load balancers of your own in front of the gateway (addresses or networks): their X-Forwarded-For is believed."""

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/?#\s@]+", origin):
                raise ValueError(f"{origin!r} must look like https://host[:port], without a path")
        return value
