"""What can go wrong with the private servers, said to the person at the terminal."""

from __future__ import annotations

from gateway.errors import TollgateError


class EmbeddedError(TollgateError):
    """The embedded Redis and Postgres could not be started."""

    code = "embedded_servers"


class BinaryNotFound(EmbeddedError):
    """A server program is missing on this machine."""


class DataInUse(EmbeddedError):
    """Another Tollgate runs on this data directory."""


class ServerFailed(EmbeddedError):
    """A private server ended, or did not become ready in time."""
