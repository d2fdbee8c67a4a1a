"""How the limits of an organisation stand, from their counters; from the ledger where a counter cannot say.

That is so for a limit that was added or raised from nothing in the middle of its window and that no request has met
since: its counter is made with the first one. When a store is down this raises `StoreUnavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.budgets.directory import OrgRules
from gateway.budgets.keyspace import CounterName, PartitionKeys, partition_keys, partition_of
from gateway.budgets.model import Limit
from gateway.budgets.plan import Charge
from gateway.budgets.ports import Ledger
from gateway.budgets.redis_charged import ChargedBefore
from gateway.budgets.redis_record import HoldRecord
from gateway.budgets.redis_scripts import READ
from gateway.budgets.rules import Cap
from gateway.budgets.standings import LimitStanding, Source, standing
from gateway.stores.redis import RedisCalls

AT_ONCE = 200


class LimitStandings:
    """Shared by the API and the command line."""

    def __init__(self, redis: RedisCalls, ledger: Ledger, *, partitions: int = 1) -> None:
        self._redis = redis
        self._partitions = partitions
        self._before = ChargedBefore(redis, ledger)

    async def of(
        self, rules: OrgRules, declared: OrgRules, now_us: int, *, among: Sequence[Limit] | None = None
    ) -> list[LimitStanding]:
        """Every limit of ``rules`` (or only those ``among`` them), in their order. ``declared``: the file's rules."""
        keys = partition_keys(partition_of(rules.org, self._partitions))
        windows = rules.calendar.around(now_us)
        charges = [
            _charge(rules, keys, limit, now_us) for limit in (rules.limits if among is None else among)
        ]
        readings: list[_Reading] = []
        for start in range(0, len(charges), AT_ONCE):
            part = charges[start : start + AT_ONCE]
            readings += await asyncio.gather(*(self._read(rules, keys, charge) for charge in part))
        await self._ask_ledger(charges, readings, keys)
        of_file = {limit.identity for limit in declared.limits}
        return [
            standing(
                charge.limit,
                Source.FILE if charge.limit.identity in of_file else Source.API,
                rules.calendar,
                windows.of(charge.limit.window),
                spent=reading.spent,
                held=reading.held,
                grace_start_us=reading.grace_start_us,
                now_us=now_us,
            )
            for charge, reading in zip(charges, readings, strict=True)
            if charge.limit is not None
        ]

    async def _read(self, rules: OrgRules, keys: PartitionKeys, charge: Charge) -> _Reading:
        if charge.limit is not None and charge.limit.each_end_user:
            return _Reading(0)  # it stands apart for each of them
        identity = charge.name.identity(rules.calendar.time_zone, rules.calendar.week_start)
        call = (charge.key, keys.sequence, keys.rules(rules.org)), (f"i:{identity}",)
        spent, held, _open, grace, counted, unseeded, sequence, since = await self._redis.run(READ, *call)
        reading = _Reading(int(sequence or 0))
        reading.grace_start_us = int(grace) if grace else None
        if counted is not None and counted == since and unseeded is None:
            reading.spent, reading.held = int(spent or 0), int(held or 0)
        elif counted is not None or since is None or int(since) > charge.interval.start_us:
            # Not so: published before the window began and still no counter, because nothing was admitted in it.
            reading.certain = False
        return reading

    async def _ask_ledger(
        self, charges: Sequence[Charge], readings: Sequence[_Reading], keys: PartitionKeys
    ) -> None:
        unknown = [index for index, reading in enumerate(readings) if not reading.certain]
        if not unknown:
            return
        flat = await self._redis.command("HGETALL", keys.holds)
        records = [HoldRecord.parse(record) for record in flat[1::2]]
        sequence = max(readings[index].sequence for index in unknown)
        spent = await self._before.each([charges[index] for index in unknown], keys, sequence)
        for index, microcredits in zip(unknown, spent, strict=True):
            readings[index].spent = microcredits
            readings[index].held = sum(
                record.amount for record in records if record.counts_for(charges[index])
            )


class _Reading:
    """What a counter says; ``certain`` False: it cannot."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.spent = 0
        self.held = 0
        self.grace_start_us: int | None = None
        self.certain = True


def _charge(rules: OrgRules, keys: PartitionKeys, limit: Limit, now_us: int) -> Charge:
    interval = rules.calendar.around(now_us).of(limit.window)
    name = CounterName(
        rules.org, limit.scope, limit.scope_id, limit.operation, limit.model, limit.window, interval.start_us
    )
    return Charge(name, keys.counter(name), limit, Cap.of(limit), interval, since_us=0)
