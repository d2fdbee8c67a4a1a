"""Tells once a second how far this process's open calls have come, to gateways where somebody listens.

While nobody listens to an organisation this costs one question a second, and nothing while no call is open. When Redis
is down nothing is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

import orjson

from gateway.budgets.holding import Holding
from gateway.errors import StoreUnavailable
from gateway.live import channels
from gateway.stores.redis import RedisCalls

log = logging.getLogger("tollgate.live")

EVERY_S = 1.0
CALLS_MAX = 1_000
"""Told of one organisation at once. An estimate takes some 10 us, so that this holds the loop for 10 ms."""
ASKED_AT_ONCE = 500


class InFlightTeller:
    """`start` and `stop` are idempotent. ``gateway_id`` tells processes apart."""

    def __init__(self, redis: RedisCalls, holdings: Callable[[], Iterable[Holding]], gateway_id: str) -> None:
        self._redis = redis
        self._holdings = holdings
        self._gateway_id = gateway_id
        self._told: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._repeat())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def tell(self) -> None:
        """One round. Raises `StoreUnavailable`."""
        by_org: dict[str, list[Holding]] = defaultdict(list)
        for holding in self._holdings():
            if holding.progress is not None:
                by_org[holding.ask.subject.org].append(holding)
        told = await self._listened_to([*by_org, *(self._told - by_org.keys())])
        for org in told:
            calls = [call for holding in by_org.get(org, [])[:CALLS_MAX] if (call := _said(holding))]
            document = orjson.dumps({"gateway": self._gateway_id, "calls": calls})
            await self._redis.command("PUBLISH", channels.flights(org), document)
        self._told = {org for org in told if org in by_org}

    async def _listened_to(self, orgs: list[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(orgs), ASKED_AT_ONCE):
            asked = orgs[start : start + ASKED_AT_ONCE]
            answer = await self._redis.command("PUBSUB", "NUMSUB", *map(channels.flights, asked))
            found += [org for org, count in zip(asked, answer[1::2], strict=True) if count]
        return found

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.tell()
            except StoreUnavailable:
                continue
            except Exception:
                # The edge of supervision: one bad round must not be the last one.
                log.exception("telling of calls in flight failed; the next round tries again")


def _said(holding: Holding) -> dict[str, object] | None:
    if holding.progress is None:
        return None  # it ended while others were told of
    so_far = holding.progress()
    subject = holding.ask.subject
    return {
        "id": holding.ask.request_id,
        "model": holding.ask.model,
        "operation": holding.ask.operation,
        "team": subject.team,
        "user": subject.user,
        "key": subject.key,
        "seconds": round(so_far.seconds, 1),
        "bytes": so_far.output_bytes,
        "tokens": so_far.output_tokens,
        "microcredits": so_far.microcredits,
        "held": holding.grant.amount,
    }
