"""What an installation does for itself by the clock: finishing erasures, and removing what nobody keeps."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.identity.erasure import Erasures
from gateway.identity.retention import Retention
from gateway.jobs.job import Job, Trade
from gateway.stores.postgres import Session

ERASURE, RETENTION, FORGETTING = "erasure", "retention", "forgetting"
AT_ONCE_S = 120.0
"""How long one job goes on moving usage: less than its lease. The next one takes up what is left."""


@dataclass(frozen=True, slots=True)
class Every:
    """Once in each stretch of time, at its beginning."""

    kind: str
    stretch: timedelta

    async def jobs(self, now: datetime) -> Iterable[Job]:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        last = epoch + (now - epoch) // self.stretch * self.stretch
        return [Job(self.kind, "", f"{at:%Y-%m-%dT%H:%MZ}", at) for at in (last, last + self.stretch)]


Forget = Callable[[datetime], Awaitable[None]]
"""Removes what nobody needs any more at that instant."""


def upkeep_trades(
    erasures: Erasures, retention: Retention, now: Callable[[], datetime], forgetting: Sequence[Forget] = ()
) -> list[Trade]:
    """For a `gateway.jobs.runner.JobRunner`. All may be repeated: they use transactions of their own, since what
    they do is too much for one."""

    async def erase(_: Job, __: Session) -> None:
        stop_s = time.monotonic() + AT_ONCE_S
        await erasures.run(now(), go_on=lambda: time.monotonic() < stop_s)

    async def remove(_: Job, __: Session) -> None:
        await retention.run(now())

    async def forget(_: Job, __: Session) -> None:
        for one in forgetting:
            await one(now())

    return [
        Trade(ERASURE, erase, Every(ERASURE, timedelta(hours=1))),
        Trade(RETENTION, remove, Every(RETENTION, timedelta(days=1))),
        Trade(FORGETTING, forget, Every(FORGETTING, timedelta(days=1))),
    ]
