"""Names of service tiers, as requests ask for them and replies report them.

A tier is written as the provider spells it. What other request members change the price joins in with ``+``:
Anthropic's ``speed: fast`` is the tier ``fast``, its ``inference_geo: us`` is ``geo:us``, both together
``fast+geo:us``. A part with a colon multiplies the price of the part without one. Names that mean the
standard price on every provider that uses them are dropped; any other name must have a price, or it is
unknown.
"""

from __future__ import annotations

from functools import lru_cache

STANDARD_NAMES = frozenset(
    {
        "",
        "default",  # OpenAI, Azure, Bedrock
        "standard",  # Anthropic, Gemini
        "on_demand",  # Groq, Vertex
        "auto",  # in a reply: the provider did not say more; in a request see `is_auto`
        "none",
        "unspecified",  # Gemini
        "service_tier_unspecified",
        "traffic_type_unspecified",
        "speed:standard",  # Anthropic
        "geo:global",
        "geo:not_available",
    }
)
BATCH = "batch"
ONLY_BY_NAME = frozenset({BATCH, "fast", "ultrafast"})
"""Tiers that no provider picks by itself when the request says ``auto``. (OpenAI's ``fast`` is its
``priority``.)"""

_OTHER_SPELLINGS = {
    "on_demand_flex": "flex",  # Vertex trafficType
    "on_demand_priority": "priority",
    "speed:fast": "fast",
}


@lru_cache(maxsize=1024)
def canonical(tier: str | None) -> str:
    """The tier's one spelling; "" is the standard price. The part that picks prices comes first."""
    if tier is None:
        return ""
    parts = {_OTHER_SPELLINGS.get(part, part) for part in (part.strip() for part in tier.lower().split("+"))}
    return "+".join(sorted(parts - STANDARD_NAMES, key=lambda part: (":" in part, part)))


def is_auto(tier: str | None) -> bool:
    """Whether a request leaves the tier to the provider; a bound then takes the dearest that it may pick."""
    return tier is not None and "auto" in tier.lower().split("+")
