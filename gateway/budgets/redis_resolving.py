"""Ending holds in Redis: by settlement, release or reaping, whichever comes first, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from gateway.budgets.keyspace import PartitionKeys
from gateway.budgets.model import Ask, Grant
from gateway.budgets.plan import RESOLVE_ARGUMENTS_EACH, Plan
from gateway.budgets.redis_record import HoldRecord
from gateway.budgets.redis_scripts import RESOLVE
from gateway.errors import StoreUnavailable
from gateway.stores.redis import CommandFailed, Form, RedisCalls

log = logging.getLogger("tollgate.budgets")

MARKER_TTL_MS = 7 * 24 * 3_600_000
"""How long the mark of an ended hold lives unless its row is committed sooner."""
RELEASE_RETRY_S = 0.25

_NO_ARGUMENTS: tuple[str | bytes | int, ...] = (0, b"", MARKER_TTL_MS, "", b"", "")
_NO_ALERTS = ("", "", "")
_UNKNOWN = ("",) * RESOLVE_ARGUMENTS_EACH

_OWN_PARTS = 9
"""The done marker's key, the mode, the request, and its six arguments."""


def _fixed_keys(keys: PartitionKeys, balance: str) -> tuple[str, ...]:
    return keys.holds, keys.deadlines, keys.open_calls, balance, keys.sequence, keys.stream, keys.alerts


def _form(keys: PartitionKeys, plan: Plan) -> Form:
    before = (*_fixed_keys(keys, plan.balance_key), *plan.counter_keys)
    behind = (keys.live, *plan.balance_alerts, *plan.resolve_arguments)
    form = plan.forms["resolve"] = Form.of(RESOLVE, before, _OWN_PARTS, behind)
    return form


class Resolver:
    """Calls the resolve script, following a hold to the counters that it lists by now."""

    def __init__(self, redis: RedisCalls) -> None:
        self._redis = redis
        self._unknown: dict[str, tuple[PartitionKeys, Plan]] = {}
        self._releasing: asyncio.Task[None] | None = None

    def settle(
        self, keys: PartitionKeys, request_id: str, plan: Plan, cost: int, result: bytes
    ) -> Awaitable[list[bytes]]:
        arguments = (cost, result, MARKER_TTL_MS, "", b"", "")
        return self._resolve("settle", keys, request_id, plan, arguments)

    async def charge_lost(
        self, keys: PartitionKeys, grant: Grant, ask: Ask, plan: Plan, cost: int, result: bytes
    ) -> list[bytes]:
        """Settle a hold that Redis lost: the caller still knows what its record said."""
        prepaid = "1" if plan.balance_required else ""
        arguments = (cost, result, MARKER_TTL_MS, grant.started_at_us, ask.admission, prepaid)
        return await self._resolve("charge", keys, grant.request_id, plan, arguments)

    async def release(self, keys: PartitionKeys, request_id: str, org: str) -> bool:
        """False: it had ended before."""
        record = await self._redis.command("HGET", keys.holds, request_id)
        counters = HoldRecord.parse(record).counter_keys if record else ()
        told = (*_NO_ARGUMENTS, keys.live, *_NO_ALERTS)
        answer = await self._call("release", keys, request_id, counters, (), keys.balance(org), told)
        return answer[0] == b"ok"

    async def reap(self, keys: PartitionKeys, request_id: str, plan: Plan) -> bool:
        """Settle at the held amount, if the deadline has really passed and nobody was faster.

        ``plan`` is of when the hold was taken.
        """
        answer = await self._resolve("reap", keys, request_id, plan, _NO_ARGUMENTS)
        return answer[0] == b"ok"

    def release_later(self, keys: PartitionKeys, request_id: str, plan: Plan) -> None:
        """Nobody knows whether this hold was taken: give it back as soon as Redis answers."""
        self._unknown[request_id] = (keys, plan)
        if self._releasing is None or self._releasing.done():
            self._releasing = asyncio.create_task(self._release_unknown())

    async def released(self) -> None:
        """Wait until no hold of unknown outcome is left."""
        if self._releasing is not None:
            await asyncio.wait([self._releasing])

    async def close(self) -> None:
        """Give up what Redis does not answer: the reaper settles it. Idempotent."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.wait([self._releasing])
            self._releasing = None

    async def _release_unknown(self) -> None:
        while self._unknown:
            for request_id, (keys, plan) in list(self._unknown.items()):
                if not await self._released_one(request_id, keys, plan):
                    break
            if self._unknown:
                await asyncio.sleep(RELEASE_RETRY_S)

    async def _released_one(self, request_id: str, keys: PartitionKeys, plan: Plan) -> bool:
        """False: Redis does not answer, so the others need not be tried now."""
        try:
            await self._resolve("release", keys, request_id, plan, _NO_ARGUMENTS)
        except CommandFailed as error:
            log.error("a hold cannot be given back", extra={"request_id": request_id, "reason": str(error)})
        except StoreUnavailable:
            return False
        except Exception:
            # The edge of supervision: one that fails, whatever the reason, must not keep the others held.
            log.exception("a hold cannot be given back", extra={"request_id": request_id})
        # Given back, or left to the reaper, which charges it when its deadline has passed.
        self._unknown.pop(request_id, None)
        return True

    async def _resolve(
        self,
        mode: str,
        keys: PartitionKeys,
        request_id: str,
        plan: Plan,
        arguments: tuple[str | bytes | int, ...],
    ) -> list[bytes]:
        form = plan.forms.get("resolve") or _form(keys, plan)
        own = (keys.done(request_id), mode, request_id, *arguments)
        answer: list[bytes] = await self._redis.submit(form, own)
        if answer[0] != b"keys":
            return answer
        told = (*arguments, keys.live, *plan.balance_alerts)
        return await self._call(
            mode, keys, request_id, plan.counter_keys, plan.resolve_arguments, plan.balance_key, told
        )

    async def _call(
        self,
        mode: str,
        keys: PartitionKeys,
        request_id: str,
        counters: tuple[str, ...],
        caps: tuple[str, ...],
        balance: str,
        arguments: tuple[str | bytes | int, ...],
    ) -> list[bytes]:
        fixed = _fixed_keys(keys, balance)
        each = RESOLVE_ARGUMENTS_EACH
        while True:
            answer: list[bytes] = await self._redis.run(
                RESOLVE,
                (*fixed, *counters, keys.done(request_id)),
                (mode, request_id, *arguments, *caps),
            )
            if answer[0] != b"keys":
                return answer
            # Seeding attached the hold to a further counter, or the rules changed since it was taken.
            known = {key: caps[i * each : i * each + each] for i, key in enumerate(counters) if caps}
            counters = tuple(answer[1].decode().split(" "))
            caps = tuple(part for key in counters for part in known.get(key, _UNKNOWN))
