"""Holds in Redis: one script call to hold, one to resolve.

When Redis is down nothing is admitted: every method raises `StoreUnavailable`. A hold whose outcome is
unknown (the connection broke, the caller was cancelled) is released in the background once Redis answers
again; its marker keeps a late copy of the command from taking effect.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from gateway.budgets import redis_scripts as scripts
from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.keyspace import PARTITIONS_KEY, PartitionKeys, key_reference, partition_keys
from gateway.budgets.levels import DEFAULT_LEVELS
from gateway.budgets.model import Ask, Grant, Limit, Outcome, Settled, State
from gateway.budgets.plan import Plan, Planner
from gateway.budgets.ports import Ledger
from gateway.budgets.redis_announcing import Announcer
from gateway.budgets.redis_balances import RedisBalances
from gateway.budgets.redis_record import HoldRecord
from gateway.budgets.redis_resolving import Resolver
from gateway.budgets.redis_rules import PublishedRules
from gateway.budgets.redis_seeding import Seeder
from gateway.budgets.refusals import (
    AlreadyResolved,
    balance_refusal,
    budget_refusal,
    open_calls_refusal,
    rate_refusal,
)
from gateway.budgets.rules import Refusal, Shortage, check_amounts, check_cost
from gateway.errors import ConfigError, RevokedKey, StoreUnavailable, TollgateError
from gateway.stores.redis import CommandFailed, Form, OutcomeUnknown, RedisCalls

HOLD_ATTEMPTS_S = 10.0
"""How long one hold may take over reloaded rules, a moved window and seeding before it is given up."""

OWN_PARTS = 8
"""What `_own` tells."""


class RedisHolds:
    """The `gateway.budgets.model.Holds` of a real installation, and what its operators need beside it."""

    def __init__(
        self,
        redis: RedisCalls,
        directory: Directory,
        ledger: Ledger,
        *,
        partitions: int = 1,
        hold_ttl_s: float = 60.0,
        alert_levels: tuple[int, ...] = DEFAULT_LEVELS,
    ) -> None:
        self._redis = redis
        self._partitions = partitions
        self._hold_ttl_us = int(hold_ttl_s * 1_000_000)
        self._rules = PublishedRules(
            redis,
            directory,
            partitions=partitions,
            hold_ttl_us=self._hold_ttl_us,
            alert_levels=alert_levels,
        )
        self._announcer = Announcer(redis)
        self._seeder = Seeder(redis, ledger)
        self.balances = RedisBalances(redis, ledger, partitions=partitions)
        self._clock_offset_us = 0
        self._resolver = Resolver(redis)

    # -------------------------------------------------------------- life

    async def start(self) -> None:
        """Check how many partitions there are, and publish the rules. Raises `ConfigError`,
        `StoreUnavailable`.
        """
        await self._redis.command("SETNX", PARTITIONS_KEY, self._partitions)
        stored = int(await self._redis.command("GET", PARTITIONS_KEY))
        if stored != self._partitions:
            raise ConfigError(
                f"redis.partitions: is {self._partitions}, but this Redis was first used with {stored}; it "
                f"cannot be changed, because counters would be looked for in other places. "
                f"Set it to {stored}."
            )
        await self._rules.replace(self._rules.directory)

    async def set_directory(self, directory: Directory) -> None:
        """Go by a newly loaded limits.yaml from now on, on this and all other gateways."""
        await self._rules.replace(directory)

    async def settled_down(self) -> None:
        """Wait until no hold of unknown outcome is left."""
        await self._resolver.released()

    async def close(self) -> None:
        """Let seedings end and give up releases that Redis does not answer. Idempotent."""
        await self._seeder.close()
        await self.balances.close()
        await self._announcer.close()
        await self._resolver.close()

    # -------------------------------------------------------------- Holds

    async def hold(self, ask: Ask) -> Grant:
        check_amounts(ask)
        give_up_s = time.monotonic() + HOLD_ATTEMPTS_S
        org = ask.subject.org
        while True:
            planner = self._rules.known(org) or await self._rules.planner(org)
            plan = planner.plan(ask.subject, ask.operation, ask.model, self._now_us())
            try:
                answer = await self._redis.submit(_hold_form(plan), _own(ask, planner.keys))
            except (OutcomeUnknown, CommandFailed, asyncio.CancelledError):
                self._resolver.release_later(planner.keys, ask.request_id, plan)
                raise
            verdict = answer[0]
            if verdict == b"ok" or verdict == b"again":
                return _grant(ask.request_id, answer, plan)
            try:
                # What is begun goes on when the time is over: the next attempt finds it done.
                async with asyncio.timeout(max(0.0, give_up_s - time.monotonic())):
                    prepared = await self._prepared(answer, plan, planner)
            except TimeoutError:
                raise StoreUnavailable(
                    "The budgets of this organisation are being rebuilt; try again shortly."
                ) from None
            if not prepared:
                self._announce_refusal(answer, ask, plan, planner)
                raise _refusal(answer, ask, plan, planner)

    async def settle(self, grant: Grant, ask: Ask, cost: int, result: bytes) -> Settled:
        check_cost(cost)
        org = ask.subject.org
        planner = self._rules.known(org) or await self._rules.planner(org)
        plan = planner.plan(ask.subject, ask.operation, ask.model, grant.started_at_us)
        answer = await self._resolver.settle(planner.keys, grant.request_id, plan, cost, result)
        if answer[0] == b"lost":
            # The rules may have changed since admission: charge what counts under today's.
            planner = await self._rules.load(org)
            plan = planner.plan(ask.subject, ask.operation, ask.model, grant.started_at_us)
            answer = await self._resolver.charge_lost(planner.keys, grant, ask, plan, cost, result)
        if answer[0] == b"dup":
            return Settled(Outcome.DUPLICATE, None, State(answer[1].decode()))
        return Settled(Outcome.DONE, int(answer[1]) if answer[1] else None)

    async def release(self, request_id: str, org: str) -> Outcome:
        keys = self._rules.keys(org)
        return Outcome.DONE if await self._resolver.release(keys, request_id, org) else Outcome.DUPLICATE

    async def renew(self, holds: Sequence[tuple[str, str]]) -> set[str]:
        by_partition: dict[PartitionKeys, list[str]] = defaultdict(list)
        for org, request_id in holds:
            by_partition[self._rules.keys(org)].append(request_id)
        answers = await asyncio.gather(
            *(
                self._redis.run(scripts.RENEW, (keys.deadlines,), (self._hold_ttl_us, *request_ids))
                for keys, request_ids in by_partition.items()
            )
        )
        return {request_id.decode() for answer in answers for request_id in answer}

    async def reap(self, limit: int = 100) -> int:
        reaped = 0
        for number in range(self._partitions):
            keys = partition_keys(number)
            due = await self._redis.run(scripts.DUE, (keys.holds, keys.deadlines), (limit,))
            answers = await asyncio.gather(
                *(
                    self._reap(keys, request_id.decode(), HoldRecord.parse(record))
                    for request_id, record in zip(due[::2], due[1::2], strict=True)
                    if record
                )
            )
            reaped += sum(answers)
        return reaped

    async def extend(self, grant: Grant, ask: Ask, amount: int, least: int) -> int | None:
        """Add between ``least`` and ``amount`` to a hold; returns what was added, None when there is no room.

        Raises `AlreadyResolved` when the hold is no more.
        """
        planner = await self._rules.planner(ask.subject.org)
        plan = planner.plan(ask.subject, ask.operation, ask.model, grant.started_at_us)
        caps = {charge.key: charge.cap for charge in plan.charges}
        counters = tuple(caps)
        while True:
            arguments: list[str | int] = [ask.request_id, amount, least, self._hold_ttl_us]
            for key in counters:
                cap = caps.get(key)
                arguments += [cap.amount, cap.ceiling, cap.grace_us] if cap else ["", "", ""]
                arguments.append("1" if cap and cap.enforced else "0")
            keys = planner.keys
            answer = await self._redis.run(
                scripts.EXTEND,
                (keys.holds, keys.deadlines, keys.balance(ask.subject.org), *counters),
                arguments,
            )
            if answer[0] == b"gone":
                raise AlreadyResolved("This hold has ended; it cannot be extended.")
            if answer[0] != b"keys":
                return int(answer[1]) if answer[0] == b"ok" else None
            counters = tuple(answer[1].decode().split(" "))

    # -------------------------------------------------------------- keys

    async def revoke(self, org: str, key: str) -> None:
        """Refuse every further hold of ``key``, on all gateways, from now on."""
        await self._redis.command("SADD", self._rules.keys(org).revoked, key_reference(org, key))

    async def reinstate(self, org: str, key: str) -> None:
        """Take a revocation back (a key that the limits file declares again)."""
        await self._redis.command("SREM", self._rules.keys(org).revoked, key_reference(org, key))

    # -------------------------------------------------------------- limits

    def keys(self, org: str) -> PartitionKeys:
        """Where everything of ``org`` is."""
        return self._rules.keys(org)

    async def limits(self, org: str) -> OrgRules:
        """The rules that all gateways go by."""
        return (await self._rules.load(org)).rules

    @property
    def outvoted(self) -> frozenset[str]:
        """Orgs for which other rules are in force than this gateway was told by limits.yaml and commands."""
        return frozenset(self._rules.outvoted)

    async def published_version(self, org: str) -> int:
        """The version that all gateways go by; 0 before any was published."""
        return int(await self._redis.command("HGET", self._rules.keys(org).rules(org), "v") or 0)

    async def set_limits(self, org: str, limits: Sequence[Limit]) -> OrgRules:
        """Publish other limits for ``org``, from now until limits.yaml changes; returns what is in force."""
        rules = await self.limits(org)
        version = max(rules.version + 1, self._now_us() // 1000)
        return (await self._rules.publish(rules.with_limits(limits, version))).rules

    # -------------------------------------------------------------- inside

    def _now_us(self) -> int:
        return time.time_ns() // 1000 + self._clock_offset_us

    async def _reap(self, keys: PartitionKeys, request_id: str, record: HoldRecord) -> bool:
        planner = await self._rules.planner(record.subject.org)
        plan = planner.plan(record.subject, record.operation, record.model, record.started_at_us)
        return await self._resolver.reap(keys, request_id, plan)

    def _announce_refusal(self, answer: list[bytes], ask: Ask, plan: Plan, planner: Planner) -> None:
        """People are told when a limit or a balance that is used up begins to refuse."""
        if answer[1:2] != [b"exhausted"]:
            return
        if answer[0] == b"limit":
            charge = plan.charges[int(answer[2]) - 1]
            if charge.name.end_user is not None:
                return  # there may be any number of them
            amount = charge.limit.amount if charge.limit is not None else 0
            self._announcer.refused(planner.keys, charge.key, amount, charge, ask.admission)
        elif answer[0] == b"balance":
            self._announcer.refused(planner.keys, plan.balance_key, int(answer[2]), None, ask.admission)

    async def _prepared(self, answer: list[bytes], plan: Plan, planner: Planner) -> bool:
        """Deal with an answer that asks for something first; False when it is a refusal."""
        verdict, org = answer[0], plan.subject.org
        if verdict == b"unpublished":
            await self._rules.republish(org)
        elif verdict == b"stale":
            await self._rules.load(org)
        elif verdict == b"time":
            self._clock_offset_us = int(answer[1]) - time.time_ns() // 1000
        elif verdict == b"build":
            await self.balances.build(org)
        elif verdict in (b"seed", b"wait"):
            await self._seeder.seed((plan.charges[int(index) - 1] for index in answer[1:]), planner.keys)
        else:
            return False
        return True


def _hold_form(plan: Plan) -> Form:
    form: Form | None = plan.forms.get("hold")
    if form is None:
        form = plan.forms["hold"] = Form.of(scripts.HOLD, plan.hold_keys, OWN_PARTS, plan.hold_arguments)
    return form


def _own(ask: Ask, keys: PartitionKeys) -> tuple[str | bytes | int, ...]:
    """The done marker's key, and what else the hold script is told of this very request."""
    return (
        keys.done(ask.request_id),
        ask.request_id,
        ask.fixed,
        ask.least,
        ask.most,
        ask.admission,
        ask.requests_per_minute or "",
        ask.open_calls_max or "",
    )


def _grant(request_id: str, answer: list[bytes], plan: Plan) -> Grant:
    amount, started_at_us = int(answer[1]), int(answer[2])
    if answer[0] == b"again":
        return Grant(request_id, amount, started_at_us, None)
    return Grant(
        request_id,
        amount,
        started_at_us,
        int(answer[3]) if answer[3] else None,
        _named(answer[4], plan) if answer[4] else (),
        _named(answer[5], plan) if answer[5] else (),
    )


def _named(indexes: bytes, plan: Plan) -> tuple[str, ...]:
    return tuple(plan.charges[int(index) - 1].text for index in indexes.split(b","))


def _refusal(answer: list[bytes], ask: Ask, plan: Plan, planner: Planner) -> TollgateError:
    verdict, need = answer[0], ask.fixed + ask.least
    if verdict == b"limit":
        charge = plan.charges[int(answer[2]) - 1]
        settled, held, cap = map(int, answer[3:6])
        refusal = Refusal(Shortage(answer[1].decode()), int(answer[2]) - 1, settled, held, cap)
        return budget_refusal(refusal, charge, planner.rules.calendar, need)
    if verdict == b"balance":
        granted, spent, held = map(int, answer[2:5])
        return balance_refusal(
            Refusal(Shortage(answer[1].decode()), None, spent, held, granted), ask.subject.org, need
        )
    if verdict == b"rate":
        return rate_refusal(int(answer[1]), ask.requests_per_minute or 0)
    if verdict == b"open":
        return open_calls_refusal(int(answer[1]), ask.open_calls_max or 0)
    if verdict == b"revoked":
        return RevokedKey()
    assert verdict == b"done", verdict
    return AlreadyResolved()
