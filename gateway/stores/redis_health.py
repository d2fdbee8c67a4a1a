"""Whether a Redis server is set up so that budgets survive its restarts, and nothing is evicted behind our
back.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import StoreUnavailable
from gateway.stores.redis import CommandFailed, RedisCalls


@dataclass(frozen=True, slots=True)
class Finding:
    """``fatal``: caps cannot be kept like this. Otherwise a weaker promise than the strongest one."""

    fatal: bool
    message: str


async def inspect_redis(redis: RedisCalls) -> list[Finding]:
    """Check persistence and eviction. Raises `StoreUnavailable` when Redis does not answer."""
    settings = await _settings(redis)
    if settings is None:
        return [Finding(False, "CONFIG is not permitted: cannot check appendonly and maxmemory-policy")]
    findings = []
    if settings.get("appendonly") != "yes":
        findings.append(
            Finding(True, "appendonly is off: a restart of Redis forgets counters and usage; set it to yes")
        )
    elif settings.get("appendfsync") == "no":
        findings.append(
            Finding(False, "appendfsync is no: a power loss forgets up to half a minute; use everysec")
        )
    if settings.get("maxmemory", "0") != "0" and settings.get("maxmemory-policy") != "noeviction":
        findings.append(
            Finding(True, "maxmemory-policy evicts counters when memory is short; set it to noeviction")
        )
    elif settings.get("maxmemory-policy") != "noeviction":
        findings.append(
            Finding(False, "maxmemory-policy is not noeviction; it matters once maxmemory is set")
        )
    return findings


async def _settings(redis: RedisCalls) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for name in ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy"):
        try:
            reply = await redis.command("CONFIG", "GET", name)
        except CommandFailed:
            return None
        if len(reply) != 2:
            raise StoreUnavailable(f"The budget store does not know its setting {name}.")
        found[name] = reply[1].decode()
    return found
