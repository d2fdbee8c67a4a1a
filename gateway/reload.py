"""pricing.yaml and limits.yaml as they are now: read at start, read again when they change, kept when they are bad."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from gateway.budgets.directory import Directory, Managed, OrgRules
from gateway.errors import ConfigError, StoreUnavailable
from gateway.settings.config import Settings
from gateway.settings.document import read_document
from gateway.settings.limits import LimitsFile, read_limits
from gateway.settings.problems import Problems
from pricing.book import PriceBook
from pricing.bundled import BundledCatalogue
from pricing.ceilings import Ceilings
from pricing.errors import PricingError
from pricing.file import PricingFile

log = logging.getLogger("tollgate.config")

POLL_S = 0.5
"""A changed file is in force within two seconds; looking at its modification time costs microseconds."""
REST_TIMES = 3
"""After a look that took its time, so many times as long nobody looks: whoever changes limits in a loop waits for that,
and calls of others are served meanwhile."""
REST_MAX_S = 1.0
FRESH_MS = 60_000
"""Files that are written where they are read are seen sooner, and copies that keep their times mostly are older."""
REREAD_S = 60.0
"""What was set by command is looked for this often without an announcement: one may have been lost with Redis, or with
whoever was about to make it."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One good version of both files."""

    limits: LimitsFile
    declared: Directory
    """What limits.yaml says, without what was set by command."""
    directory: Directory
    prices: PriceBook


class ManagedSource(Protocol):
    """Limits set by command, see `gateway.budgets.postgres_managed.ManagedLimits`."""

    async def generation(self) -> bytes | None: ...

    async def changed(self, known: Mapping[str, int]) -> Mapping[str, Managed]: ...


class LiveConfig:
    """The last good version of both files. ``problems`` names files that were changed and refused."""

    def __init__(
        self, settings: Settings, managed: ManagedSource | None = None, *, reread_s: float = REREAD_S
    ) -> None:
        self._source = managed
        self._reread_s = reread_s
        self._generation: bytes | None = None
        self._managed: dict[str, Managed] = {}
        self._managed_known = managed is None
        """Until then what others have published counts, rather than the file alone."""
        self._reread_at_s = 0.0
        self._file_version = 0
        self._versioned: Stamp | None = None
        """The limits.yaml that has this version."""
        self._rested_at_s = 0.0
        self._limits = settings.limits
        self._pricing = settings.pricing
        self._catalogue = BundledCatalogue()
        self._ceilings = Ceilings.load()
        self._stamps = self._stamped()
        self._task: asyncio.Task[None] | None = None
        self._changed: Callable[[Loaded], Awaitable[None]] | None = None
        self._looking = asyncio.Lock()
        self.problems: dict[str, str] = {}
        self.current, self._file_version = self._load(self._stamps)
        self._versioned = self._stamps[self._limits]

    def start(self, changed: Callable[[Loaded], Awaitable[None]]) -> None:
        """Watch the files; ``changed`` hears of every new version before it counts as loaded."""
        self._changed = changed
        if self._task is None:
            self._task = asyncio.create_task(self._watch(changed))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def rules(self, org: str) -> OrgRules:
        """What counts in ``org`` now."""
        return self.current.directory.rules(org)

    def declared(self, org: str) -> OrgRules:
        """What limits.yaml alone says of ``org``."""
        return self.current.declared.rules(org)

    async def look(self) -> None:
        """As the watch does: what was set just now is in force afterwards, if the stores answer."""
        if self._changed is not None:
            await self.refresh(self._changed)

    async def refresh(self, changed: Callable[[Loaded], Awaitable[None]]) -> None:
        """Look once, and take over what changed if it is good."""
        clock = asyncio.get_running_loop().time
        async with self._looking:
            await asyncio.sleep(self._rested_at_s - clock())
            began_s = clock()
            await self._refresh(changed)
            ended_s = clock()
            self._rested_at_s = ended_s + min(REST_MAX_S, REST_TIMES * (ended_s - began_s))

    async def _refresh(self, changed: Callable[[Loaded], Awaitable[None]]) -> None:
        before = self._stamps, self._generation, self._managed, self._managed_known, self._reread_at_s
        try:
            await self._take_over(changed)
        except BaseException as error:
            # Whatever kept it from being taken over, also that nobody waits for it any more: the next look finds it.
            self._stamps, self._generation, self._managed, self._managed_known, self._reread_at_s = before
            if isinstance(error, ConfigError):
                self._refuse("published", error)
            elif not isinstance(error, StoreUnavailable):
                raise

    async def _take_over(self, changed: Callable[[Loaded], Awaitable[None]]) -> None:
        known = self._managed_known
        set_since = await self._look_at_managed()
        loaded = await self._reloaded(at_all_events=self._managed_known and not known)
        if loaded is None and set_since:  # in force also while a file is bad
            loaded = await asyncio.to_thread(self._with, set_since)
        if loaded is not None:
            await changed(loaded)
            self.current = loaded
            log.info("configuration reloaded", extra={"orgs": len(loaded.directory.orgs)})
        self.problems.pop("published", None)
        self.problems.pop("look", None)

    async def _reloaded(self, *, at_all_events: bool) -> Loaded | None:
        """Both files, if one of them changed and they are good."""
        stamps = self._stamped()
        if not at_all_events and stamps == self._stamps:
            return None
        self._stamps = stamps
        try:
            loaded, self._file_version = await asyncio.to_thread(self._load, stamps)
        except ConfigError as error:
            self._refuse("config", error)
            return None
        self._versioned = stamps[self._limits]
        self.problems.pop("config", None)
        return loaded

    def _refuse(self, what: str, error: ConfigError) -> None:
        problem = "; ".join(error.message.splitlines())
        if self.problems.get(what) != problem:
            log.error("changed configuration refused, the last good one stays", extra={"reason": str(error)})
        self.problems[what] = problem

    async def _look_at_managed(self) -> Mapping[str, Managed]:
        """The orgs for which something was set by command since the last look."""
        if self._source is None:
            return {}
        generation = await self._source.generation()
        announced = not self._managed_known or generation != self._generation
        now_s = asyncio.get_running_loop().time()
        if not announced and now_s < self._reread_at_s:
            return {}
        self._reread_at_s = now_s + self._reread_s
        try:
            found = await self._source.changed({org: one.version for org, one in self._managed.items()})
        except StoreUnavailable:
            return {}  # files are taken over all the same, and what was announced is asked for again
        self._managed = {**self._managed, **found}
        self._generation, self._managed_known = generation, True
        return found

    async def _watch(self, changed: Callable[[Loaded], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh(changed)
            except Exception:
                # The edge of supervision: one look that fails must not be the last one.
                self.problems["look"] = "cannot be read; see the log"
                log.exception("looking for changed configuration failed, the last good one stays")

    def _stamped(self) -> dict[Path, Stamp | None]:
        """Of both files. Taken before they are read, so that a change meanwhile is seen next time."""
        return {path: _stamp(path) for path in (self._limits, self._pricing) if path is not None}

    def _load(self, stamps: Mapping[Path, Stamp | None]) -> tuple[Loaded, int]:
        """Both files, and the version of limits.yaml. Changes nothing here: nobody may wait for its thread any more.

        Raises `ConfigError`.
        """
        looked_ms = time.time_ns() // 1_000_000
        problems = Problems()
        limits, pricing = read_files(self._limits, self._pricing, problems)
        problems.raise_any()
        assert limits is not None
        assert pricing is not None
        stamp, version = stamps[self._limits], self._file_version
        if stamp != self._versioned:
            version = _version(stamp, looked_ms, newer_than=version)
        declared = Directory.compile(limits, version if self._managed_known else 0)
        prices = PriceBook(pricing, limits.credit_usd, self._catalogue, self._ceilings)
        return Loaded(limits, declared, declared.with_managed(self._managed), prices), version

    def _with(self, set_since: Mapping[str, Managed]) -> Loaded:
        """The same files with what was set of some orgs since."""
        now = self.current
        return replace(now, directory=now.declared.with_managed(set_since, onto=now.directory))


def read_files(
    limits: Path | None, pricing: Path | None, problems: Problems
) -> tuple[LimitsFile | None, PricingFile | None]:
    """Both files, each None if anything is wrong with it; everything that is goes to ``problems``."""
    read = read_limits(limits, problems) if limits is not None else None
    if pricing is None:
        return read, PricingFile()
    document = read_document(pricing, problems)
    if document is None or document.unset:
        return read, None
    try:
        return read, PricingFile.parse(document.values, str(pricing))
    except PricingError as error:
        problems.take(str(error))
        return read, None


def _version(stamp: Stamp | None, looked_ms: int, *, newer_than: int) -> int:
    """Of limits.yaml, in milliseconds. A change that is seen here is one now, whatever time the file came with, unless
    that was just now: so gateways that see it one after the other call it the same. The file that is there at the start
    is as old as it says, but not of the future: that would stand against every change until then."""
    changed_ms = min(stamp[0] // 1_000_000 if stamp else 0, looked_ms)
    if newer_than and changed_ms < looked_ms - FRESH_MS:
        changed_ms = looked_ms
    return max(changed_ms, newer_than + 1)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
