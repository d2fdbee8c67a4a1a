"""One spelling for the service tiers that change a price.

A tier is None (standard prices) or a string: ``flex``, ``priority``, ``batch``, ``fast``, ``ultrafast``,
``scale``, ``performance``, ``provisioned_throughput`` and whatever else a provider invents, in lower case; a
region with a price of its own is ``geo:us``. Several apply at once: joined by ``+`` in alphabetical order
(as `pricing.tiers` reads them).
"""

from __future__ import annotations

STANDARD = frozenset(
    {"", "auto", "default", "standard", "on_demand", "global", "not_available", "unspecified", "none"}
)
"""What providers say for "nothing special"."""


def normal(value: object, prefix: str = "") -> str | None:
    """``value`` as a provider spells it, or None when it means the standard price."""
    if not isinstance(value, str):
        return None
    spelled = value.strip().lower()
    return None if spelled in STANDARD else prefix + spelled


def joined(*tiers: str | None) -> str | None:
    return "+".join(sorted({t for t in tiers if t})) or None
