"""Requests and conversations in Postgres. When it is down everything here raises `PostgresUnavailable`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import orjson

from gateway.identity.roles import Reach
from gateway.reports.history import Conversation, ConversationCost, UsageLine
from gateway.reports.period import Period
from gateway.reports.postgres_usage_reading import reach_arguments
from gateway.reports.question import Filters, narrowed
from gateway.reports.turns import Turns
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.reports", "history.sql")
Position = tuple[datetime, str]
"""An instant and an id: where a page ended."""


class History:
    """Reads in one session, so inside one snapshot if that is what the session's transaction is."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def lines(
        self,
        org: str,
        reach: Reach,
        period: Period,
        filters: Filters,
        limit: int,
        after: Position | None = None,
    ) -> list[UsageLine]:
        """Newest first, beyond the line ``after``."""
        args = _line_arguments(org, reach, period, filters, limit, after)
        return [] if args is None else [_line(row) for row in await self._session.fetch(_SQL["lines"], *args)]

    async def all_lines(
        self, org: str, reach: Reach, period: Period, filters: Filters
    ) -> AsyncGenerator[UsageLine]:
        """Every line, newest first, a thousand in memory at a time."""
        args = _line_arguments(org, reach, period, filters, None, None)
        if args is not None:
            async for row in self._session.stream(_SQL["lines"], *args):
                yield _line(row)

    async def conversation_costs(
        self, org: str, reach: Reach, period: Period, limit: int | None = None
    ) -> AsyncGenerator[ConversationCost]:
        """What each conversation cost, dearest first."""
        async for row in self._session.stream(
            _SQL["conversation_costs"], org, period.start, period.end, *reach_arguments(reach), limit
        ):
            yield ConversationCost(
                row["conversation_id"], row["title"], row["requests"], row["credits_microcredits"]
            )

    async def people(self, org: str, period: Period) -> list[str]:
        """The users who used anything in (about) the period."""
        rows = await self._session.fetch(_SQL["people"], org, period.start, period.end)
        return [row["user_id"] for row in rows]


class Conversations:
    """The list of conversations, and their titles."""

    def __init__(self, postgres: Postgres, turns: Turns) -> None:
        self._postgres = postgres
        self._turns = turns

    async def page(
        self, org: str, reach: Reach, limit: int, after: Position | None = None
    ) -> list[Conversation]:
        """Those that began last first, beyond the one ``after``."""
        began, name = after or (None, None)
        return await self._list(org, reach, began, name, limit, None)

    async def one(self, org: str, reach: Reach, conversation_id: str) -> Conversation | None:
        """None: there is none of that id within reach."""
        found = await self._list(org, reach, None, None, 1, conversation_id)
        return found[0] if found else None

    async def name(self, org: str, reach: Reach, conversation_id: str, title: str | None) -> bool:
        """Give a title, or with None take it away; False: there is none of that id within reach."""
        found = await self._postgres.fetch_value(
            _SQL["name_conversation"], org, conversation_id, title, *reach_arguments(reach)
        )
        return found is not None

    async def _list(self, org: str, reach: Reach, *rest: object) -> list[Conversation]:
        async with self._turns.of(org):
            rows = await self._postgres.fetch(_SQL["conversations"], org, *reach_arguments(reach), *rest)
        return [
            Conversation(
                id=row["conversation_id"],
                title=row["title"],
                team=row["team_id"],
                user=row["user_id"],
                key=row["key_id"],
                first_at=row["first_at"],
                last_at=row["last_at"],
                requests=row["requests"],
                input_tokens=row["input_tokens"],
                output_tokens=row["output_tokens"],
                credits_microcredits=row["credits_microcredits"],
            )
            for row in rows
        ]


def _line_arguments(
    org: str, reach: Reach, period: Period, filters: Filters, limit: int | None, after: Position | None
) -> list[object] | None:
    """None: nothing is within reach."""
    narrow = narrowed(reach, filters)
    if narrow is None:
        return None
    reach, filters = narrow
    singles, several = [], []
    for values in (filters.users, filters.keys, filters.conversations):
        one = values[0] if values is not None and len(values) == 1 else None
        singles.append(one)
        several.append(None if values is None or one is not None else list(values))
    name, value = filters.tag or (None, None)
    return [
        *(org, period.start, period.end, *(after or (None, None)), limit, *singles, *several),
        *(_optional(filters.teams), _optional(filters.providers), _optional(filters.models)),
        *(_optional(filters.operations), *reach_arguments(reach), name, value, _optional(filters.statuses)),
    ]


def _optional(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _line(row: Row) -> UsageLine:
    return UsageLine(
        request_id=row["request_id"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        team=row["team_id"],
        user=row["user_id"],
        key=row["key_id"],
        conversation=row["conversation_id"],
        end_user=row["end_user"],
        tags=orjson.loads(row["tags"]),
        provider=row["provider"],
        model=row["model"],
        model_served=row["model_served"],
        operation=row["operation"],
        route=row["route"],
        tier=row["tier"],
        streamed=row["streamed"],
        input_tokens=row["input_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        cache_write_tokens=row["cache_write_tokens"],
        output_tokens=row["output_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        credits_microcredits=row["credits_microcredits"],
        usage_source=row["usage_source"],
        status=row["status"],
        flags=tuple(row["flags"]),
        upstream_status=row["upstream_status"],
        first_byte_ms=row["first_byte_ms"],
    )
