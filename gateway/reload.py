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

    def __init__(self, settings: Settings, managed: ManagedSource | None = None) -> None:
        self._source = managed
        self._generation: bytes | None = None
        self._managed: dict[str, Managed] = {}
        self._managed_known = managed is None
        """Until then what others have published counts, rather than the file alone."""
        self._file_version = 0
        self._rested_at_s = 0.0
        self._limits = settings.limits
        self._pricing = settings.pricing
        self._catalogue = BundledCatalogue()
        self._ceilings = Ceilings.load()
        self._stamps: dict[Path, Stamp | None] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed: Callable[[Loaded], Awaitable[None]] | None = None
        self._looking = asyncio.Lock()
        self.problems: dict[str, str] = {}
        self.current = self._load()

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
        before, generation = dict(self._stamps), self._generation
        managed, known = dict(self._managed), self._managed_known
        try:
            set_since = await self._look_at_managed()
            loaded = await self._reloaded(at_all_events=not known)
            if loaded is None and set_since:  # in force also while a file is bad
                loaded = await asyncio.to_thread(self._with, set_since)
            if loaded is None:
                return
            await changed(loaded)
        except ConfigError as error:
            self._refuse(error)
            self._managed, self._managed_known = managed, known
            return
        except StoreUnavailable:
            # A store is down: try again at the next look.
            self._stamps, self._generation, self._managed = before, generation, managed
            self._managed_known = known
            return
        self.current = loaded
        log.info("configuration reloaded", extra={"orgs": len(loaded.directory.orgs)})

    async def _reloaded(self, *, at_all_events: bool) -> Loaded | None:
        """Both files, if one of them changed and they are good."""
        if not at_all_events and all(_stamp(path) == stamp for path, stamp in self._stamps.items()):
            return None
        try:
            loaded = await asyncio.to_thread(self._load)
        except ConfigError as error:
            self._refuse(error)
            return None
        self.problems = {}
        return loaded

    def _refuse(self, error: ConfigError) -> None:
        self.problems = {"config": "; ".join(error.message.splitlines())}
        log.error("changed configuration refused, the last good one stays", extra={"reason": str(error)})

    async def _look_at_managed(self) -> Mapping[str, Managed]:
        """The orgs for which something was set by command since the last look."""
        if self._source is None:
            return {}
        generation = await self._source.generation()
        if self._managed_known and generation == self._generation:
            return {}
        found = await self._source.changed({org: one.version for org, one in self._managed.items()})
        self._managed.update(found)
        self._generation, self._managed_known = generation, True
        return found

    async def _watch(self, changed: Callable[[Loaded], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh(changed)
            except Exception:
                # The edge of supervision: one look that fails must not be the last one.
                self.problems = {"config": "cannot be read; see the log"}
                log.exception("looking for changed configuration failed, the last good one stays")

    def _load(self) -> Loaded:
        """Raises `ConfigError`. Stamps are taken before reading, so a change meanwhile is seen next time."""
        before = self._stamps
        self._stamps = {path: _stamp(path) for path in (self._limits, self._pricing) if path is not None}
        problems = Problems()
        limits, pricing = read_files(self._limits, self._pricing, problems)
        problems.raise_any()
        assert limits is not None
        assert pricing is not None
        if self._stamps[self._limits] != before.get(self._limits):
            self._file_version = _version(self._stamps[self._limits], newer_than=self._file_version)
        declared = Directory.compile(limits, self._file_version if self._managed_known else 0)
        prices = PriceBook(pricing, limits.credit_usd, self._catalogue, self._ceilings)
        return Loaded(limits, declared, declared.with_managed(self._managed), prices)

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


def _version(stamp: Stamp | None, newer_than: int) -> int:
    """Of limits.yaml: when it was changed, in milliseconds. A change that is seen here is one whatever the time is that
    the file came with, and a time in the future would stand against every change until then."""
    changed_ms = stamp[0] // 1_000_000 if stamp else 0
    return max(min(changed_ms, time.time_ns() // 1_000_000), newer_than + 1)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
