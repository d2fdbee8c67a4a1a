"""A question about usage: which stretch of time, whose, of what kind, and split how."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from gateway.identity.roles import Reach
from gateway.reports.period import Granularity, Period


class Dimension(StrEnum):
    """By what usage can be split."""

    TEAM = "team"
    USER = "user"
    KEY = "key"
    PROVIDER = "provider"
    MODEL = "model"
    OPERATION = "operation"
    CONVERSATION = "conversation"
    TAG = "tag"
    """By the value of one tag, which the question names."""


PEOPLE = frozenset({Dimension.TEAM, Dimension.USER, Dimension.KEY})
OF_EVENTS = frozenset({Dimension.CONVERSATION, Dimension.TAG})
"""Sums are not kept by these: they are added up request by request."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Only usage of these; None: of all. Several values of one kind: of any of them."""

    teams: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    operations: tuple[str, ...] | None = None
    conversations: tuple[str, ...] | None = None
    tag: tuple[str, str] | None = None
    """Name and value."""
    statuses: tuple[str, ...] | None = None

    @property
    def of_people(self) -> bool:
        return any(one is not None for one in (self.teams, self.users, self.keys))

    @property
    def of_events(self) -> bool:
        return any(one is not None for one in (self.conversations, self.tag, self.statuses))


@dataclass(frozen=True, slots=True)
class Question:
    """``group_by`` is in the order of `Dimension`; ``tag`` names the tag to split by, if `Dimension.TAG` is in it."""

    org: str
    reach: Reach
    period: Period
    filters: Filters = field(default_factory=Filters)
    granularity: Granularity = Granularity.NONE
    group_by: tuple[Dimension, ...] = ()
    tag: str | None = None
    by_request: bool = False
    """Of what single requests are kept of alone; sums outlive them."""

    def total(self) -> Question:
        """The same without any split."""
        return replace(self, granularity=Granularity.NONE, group_by=())

    @property
    def needs_events(self) -> bool:
        return self.by_request or self.filters.of_events or self.splits_events

    @property
    def splits_events(self) -> bool:
        return bool(OF_EVENTS.intersection(self.group_by))

    @property
    def needs_people(self) -> bool:
        return not self.reach.whole or self.filters.of_people or bool(PEOPLE.intersection(self.group_by))


@dataclass(frozen=True, slots=True)
class Sums:
    """What was used, added up. Tokens are inclusive: input contains cached and written ones, output reasoning."""

    requests: int = 0
    errors: int = 0
    """Calls that failed at the provider, or whose gateway died."""
    estimated: int = 0
    """Calls whose usage was counted here or assumed at its bound, as the provider did not report it."""
    unpriced: int = 0
    """Calls that used something without a price and were charged their bound."""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    credits_microcredits: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in SUMS))

    def __sub__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) - getattr(other, name) for name in SUMS))


SUMS = tuple(Sums.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Group:
    """One line of an answer. ``step``: a local date (ISO), an instant for hours, or "" without a series."""

    step: str
    names: tuple[str | None, ...]
    """One for each dimension asked for; None: usage that has none (a service key has no user)."""
    sums: Sums
    place: tuple[str, ...] = ()
    """What groups are ordered by; unlike a sum it never changes."""


def narrowed(reach: Reach, filters: Filters) -> tuple[Reach, Filters] | None:
    """A reach to one kind of thing alone is a filter, which an index can answer; None: nothing is within reach."""
    if reach.whole:
        return reach, filters
    sets = {"teams": reach.teams, "users": reach.users, "keys": reach.keys}
    named = {name: members for name, members in sets.items() if members}
    if not named:
        return None
    if len(named) > 1:
        return reach, filters
    [(name, members)] = named.items()
    asked = getattr(filters, name)
    within = tuple(sorted(members if asked is None else members.intersection(asked)))
    changed: dict[str, Any] = {name: within}
    return (Reach(reach.org_id), replace(filters, **changed)) if within else None
