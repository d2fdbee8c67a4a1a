"""A private Redis and Postgres for one machine, so that trying Tollgate needs neither installed."""

from gateway.embedded.cluster import Embedded, Endpoints
from gateway.embedded.failure import BinaryNotFound, DataInUse, EmbeddedError, ServerFailed

__all__ = ["BinaryNotFound", "DataInUse", "Embedded", "EmbeddedError", "Endpoints", "ServerFailed"]
