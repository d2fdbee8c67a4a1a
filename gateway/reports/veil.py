"""Names of people, for those who may not see them: each user stands under a pseudonym of the org's own.

Whoever reads pseudonyms may also ask by them: a filter by a pseudonym finds the same usage, and a page that ended with
one goes on behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.reports.history import Conversation, UsageLine
from gateway.reports.question import Dimension, Filters, Group

_USER_PLACE = 1 + list(Dimension).index(Dimension.USER)
"""Where `Group.place` has the user: behind the step, in the order of dimensions."""


class Names(Protocol):
    """See `gateway.identity.pseudonyms.Pseudonyms`."""

    async def of(self, org: str, users: Iterable[str]) -> dict[str, str]:
        """User id to pseudonym, always the same one within an org."""


class Veil:
    """Over one org's usage. ``names`` None: nothing is hidden."""

    def __init__(self, org: str, names: Names | None) -> None:
        self._org = org
        self._names = names
        self._known: dict[str, str] = {}

    @property
    def hides(self) -> bool:
        return self._names is not None

    async def user(self, user: str | None) -> str | None:
        """The user, or the pseudonym to show instead."""
        if self._names is None or user is None:
            return user
        if user not in self._known:
            self._known.update(await self._names.of(self._org, [user]))
        return self._known[user]

    async def groups(self, groups: Sequence[Group], group_by: Sequence[Dimension]) -> list[Group]:
        if self._names is None or Dimension.USER not in group_by:
            return list(groups)
        at = list(group_by).index(Dimension.USER)
        shown = []
        for group in groups:
            names = list(group.names)
            names[at] = await self.user(names[at])
            shown.append(replace(group, names=tuple(names)))
        return shown

    async def line(self, line: UsageLine) -> UsageLine:
        if self._names is None:
            return line
        return replace(line, user=await self.user(line.user), end_user=None)

    async def conversation(self, conversation: Conversation) -> Conversation:
        if self._names is None:
            return conversation
        return replace(conversation, user=await self.user(conversation.user))

    async def shown_place(self, place: Sequence[str]) -> tuple[str, ...]:
        """Where a page ended, for a reader to hand back."""
        return _replaced(place, await self.user(place[_USER_PLACE] or None))

    async def place(self, shown: Sequence[str], people: Iterable[str]) -> tuple[str, ...] | None:
        """What `shown_place` was given; None for a pseudonym that none of ``people`` has: with ids of one's own making
        it could be tried out between whom a pseudonym stands."""
        user = shown[_USER_PLACE]
        if self._names is None or not user:
            return tuple(shown)
        known = await self._names.of(self._org, people)
        found = next((one for one, name in known.items() if name == user), None)
        return None if found is None else _replaced(shown, found)

    async def filters(self, filters: Filters, people: Iterable[str]) -> Filters:
        """``filters`` with users for pseudonyms; ``people``: whose they may be. A hidden user's own id finds nothing,
        or else it could be tried out whose a pseudonym is."""
        if self._names is None or filters.users is None:
            return filters
        shown = await self._names.of(self._org, people)
        wanted = set(filters.users)
        return replace(filters, users=tuple(user for user, name in shown.items() if name in wanted))


def _replaced(place: Sequence[str], user: str | None) -> tuple[str, ...]:
    return (*place[:_USER_PLACE], user or "", *place[_USER_PLACE + 1 :])
