"""A year that never was: plausible usage of several orgs, for charts, reports and measurements.

What is planned here (which org has how many requests on which day) is the same for the same seed; what each request
is like is drawn inside Postgres. The rows go through the writer's own statement, so that all sums and books follow.
They belong to no partition of Redis: counters that are seeded later contain them, counters that exist do not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate

ZONES = (
    "Europe/Paris",
    "America/St_Johns",
    "Asia/Kolkata",
    "America/Los_Angeles",
    "UTC",
    "Australia/Lord_Howe",
)
_OFFICE_HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 16, 22, 24, 22, 15, 20, 24, 24, 21, 16, 10, 7, 6, 5, 3, 2)
_WEEKDAYS = (1.0, 1.06, 1.08, 1.04, 0.92, 0.34, 0.28)
GENERATED_PARTITION = -1


@dataclass(frozen=True, slots=True)
class MadeOrg:
    """One org of the made-up year."""

    org_id: str
    time_zone: str
    users: int
    teams: int
    weight: float


@dataclass(frozen=True, slots=True)
class MadeModel:
    """One model: how often it is used, and what its tokens cost (femto-USD each)."""

    provider: str
    kind: str
    model: str
    operation: str
    route: str
    tier: str
    weight: float
    reasoning_share: float = 0.0


@dataclass(frozen=True, slots=True)
class MadeDay:
    """So many requests of one org on one local day."""

    org: MadeOrg
    day: date
    rows: int


MODELS = (
    MadeModel("openai", "openai", "gpt-5", "chat", "chat.completions", "", 22, 0.7),
    MadeModel("openai", "openai", "gpt-5-mini", "chat", "chat.completions", "", 18, 0.5),
    MadeModel("openai", "openai", "gpt-4o", "chat", "chat.completions", "", 9),
    MadeModel("openai", "openai", "gpt-4o-mini", "chat", "chat.completions", "", 8),
    MadeModel("openai", "openai", "o4-mini", "chat", "responses", "", 4, 0.9),
    MadeModel("openai", "openai", "gpt-5-mini", "batch", "chat.completions", "batch", 5, 0.5),
    MadeModel("openai", "openai", "text-embedding-3-small", "embedding", "embeddings", "", 9),
    MadeModel("openai", "openai", "gpt-image-1", "image", "images.generations", "", 2),
    MadeModel("anthropic", "anthropic", "claude-sonnet-4-5", "chat", "messages", "", 12),
    MadeModel("anthropic", "anthropic", "claude-haiku-4-5", "chat", "messages", "", 5),
    MadeModel("gemini", "gemini", "gemini-2.5-pro", "chat", "generateContent", "", 3, 0.8),
    MadeModel("gemini", "gemini", "gemini-2.5-flash", "chat", "generateContent", "", 3),
)


def cumulative(weights: Sequence[float]) -> list[float]:
    """Ascending edges in (0, 1): a random number below the first one picks the first, and so on."""
    total = sum(weights)
    return [edge / total for edge in accumulate(weights)][:-1]


HOURS = cumulative(_OFFICE_HOURS)


def made_orgs(count: int, prefix: str = "org") -> tuple[MadeOrg, ...]:
    """``count`` orgs from large to small, in different zones."""
    return tuple(
        MadeOrg(
            f"{prefix}-{number + 1}",
            ZONES[number % len(ZONES)],
            users=max(6, 60 - 8 * number),
            teams=max(2, 6 - number // 2),
            weight=1 / (1 + 0.4 * number),
        )
        for number in range(count)
    )


def plan(
    orgs: Sequence[MadeOrg], rows: int, until: date, days: int = 365, seed: int = 1
) -> Iterator[MadeDay]:
    """Exactly ``rows`` requests over the ``days`` before ``until`` (exclusive), growing, with weeks, months and noise.

    Days come in order of time, so that what was made is a whole past however far the making got.
    """
    dice = random.Random(seed)  # noqa: S311 - nothing here is secret
    slots: list[tuple[MadeOrg, date]] = []
    weights: list[float] = []
    for number in range(days):
        day = until - timedelta(days=days - number)
        growth = 0.45 + 0.55 * number / days
        for org in orgs:
            noise = dice.lognormvariate(0, 0.12)
            month_end = 1.15 if day.day >= 26 else 1.0
            slots.append((org, day))
            weights.append(org.weight * growth * noise * month_end * _WEEKDAYS[day.weekday()])
    total = sum(weights)
    edges = [round(rows * edge / total) for edge in accumulate(weights)]
    for (org, day), below, upto in zip(slots, [0, *edges[:-1]], edges, strict=True):
        if upto > below:
            yield MadeDay(org, day, upto - below)
