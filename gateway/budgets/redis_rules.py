"""The rules that all gateways decide by: published to Redis, the highest rank wins (decision 0017)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.keyspace import PartitionKeys, partition_keys, partition_of
from gateway.budgets.levels import DEFAULT_LEVELS
from gateway.budgets.plan import Planner, identities
from gateway.budgets.redis_scripts import PUBLISH
from gateway.stores.redis import RedisCalls

Made = TypeVar("Made")
PUBLISHED_AT_ONCE = 64
"""Orgs published concurrently after a reload: one pipeline's worth."""
OFF_LOOP_LIMITS = 200
"""As many are written or read without anybody noticing."""


class PublishedRules:
    """This gateway's copy of what is published, and its own part in publishing."""

    def __init__(
        self,
        redis: RedisCalls,
        directory: Directory,
        *,
        partitions: int,
        hold_ttl_us: int,
        alert_levels: tuple[int, ...] = DEFAULT_LEVELS,
    ) -> None:
        self._redis = redis
        self._alert_levels = alert_levels
        self._partitions = partitions
        self._hold_ttl_us = hold_ttl_us
        self._planners: dict[str, Planner] = {}
        self._told: dict[str, OrgRules] = {}
        """What this gateway has published, by org."""
        self._own: dict[str, bytes] = {}
        """The documents of what this gateway was told itself, by org."""
        self.outvoted: set[str] = set()
        """Orgs for which others have published what this gateway has no knowledge of, or an older version."""
        self.directory = directory

    def keys(self, org: str) -> PartitionKeys:
        return partition_keys(partition_of(org, self._partitions))

    def known(self, org: str) -> Planner | None:
        """The planner of ``org`` as far as this gateway knows; the hold script tells if it is outdated."""
        return self._planners.get(org)

    async def planner(self, org: str) -> Planner:
        return self._planners.get(org) or await self.publish(self.directory.rules(org))

    async def replace(self, directory: Directory) -> None:
        """Publish every org whose rules are not those published before. Raises `StoreUnavailable`."""
        self.directory = directory
        for org in self._own.keys() - directory.orgs.keys():
            del self._own[org]
            self.outvoted.discard(org)
        rules = [rules for org, rules in directory.orgs.items() if self._told.get(org) is not rules]
        for start in range(0, len(rules), PUBLISHED_AT_ONCE):
            await asyncio.gather(*map(self.publish, rules[start : start + PUBLISHED_AT_ONCE]))

    async def publish(self, rules: OrgRules) -> Planner:
        """Publish ``rules`` unless newer ones are there; either way, go by what is there afterwards."""
        keys = self.keys(rules.org)
        document, names = await _off_loop(len(rules.limits), lambda: (rules.to_json(), identities(rules)))
        answer = await self._redis.run(PUBLISH, (keys.rules(rules.org),), (*rules.rank, document, *names))
        if rules.version and rules is self.directory.orgs.get(rules.org):
            self._own[rules.org] = document
        planner = await self._take(rules.org, answer)
        self._told[rules.org] = rules
        return planner

    async def load(self, org: str) -> Planner:
        """Take what others published; publish what the file says if that is newer, or nothing is there."""
        answer = await self._redis.command("HGETALL", self.keys(org).rules(org))
        ours = self.directory.rules(org)
        if not answer or _rank(_fields(answer)) < ours.rank:
            return await self.publish(ours)
        return await self._take(org, answer)

    async def republish(self, org: str) -> Planner:
        """Redis forgot the rules of ``org``: publish the newest that this gateway has seen."""
        known = self._planners.get(org)
        ours = self.directory.rules(org)
        newest = known.rules if known is not None and known.rules.rank > ours.rank else ours
        return await self.publish(newest)

    async def _take(self, org: str, flat: list[bytes]) -> Planner:
        fields = _fields(flat)
        if self._own.get(org, fields[b"d"]) == fields[b"d"]:
            self.outvoted.discard(org)
        else:
            self.outvoted.add(org)
        rules = await _off_loop(len(fields), lambda: OrgRules.from_json(fields[b"d"], *_rank(fields)))
        planner = Planner(
            rules,
            {name[2:].decode(): int(since) for name, since in fields.items() if name.startswith(b"i:")},
            self.keys(org),
            edition=fields[b"e"].decode(),
            hold_ttl_us=self._hold_ttl_us,
            alert_levels=self._alert_levels,
        )
        self._planners[org] = planner
        return planner


async def _off_loop(limits: int, work: Callable[[], Made]) -> Made:
    """Thousands of limits take a while to read or write: nobody else's calls wait for that."""
    return work() if limits <= OFF_LOOP_LIMITS else await asyncio.to_thread(work)


def _fields(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _rank(fields: dict[bytes, bytes]) -> tuple[int, int, int]:
    """As `OrgRules.rank`. Gateways of before published a version alone."""
    return int(fields[b"v"]), int(fields.get(b"f", 0)), int(fields.get(b"m", 0))
