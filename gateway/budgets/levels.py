"""The levels of a limit at which people are told: percent of the limit, and the amounts they come to.

Sums only grow within a window, so each level is met once for each amount of the limit; the counter remembers the
highest level that was announced and for which amount (`Told`). The scripts in Redis decide by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.budgets.model import Limit

DEFAULT_LEVELS = (75, 90, 100)
"""Percent. Three quarters leaves time to act, nine tenths urges, the whole says why calls are refused."""


@dataclass(frozen=True, slots=True)
class OrgAlerts:
    """What an org wants to be told of its limits and its balance."""

    levels: tuple[int, ...] | None = None
    """Percent, ascending, for limits that name none of their own; None: the installation's; empty: none."""
    low_balance: int | None = None
    """Microcredits: the balance's being at or below this is announced, once after each top-up."""

    def or_else(self, other: OrgAlerts) -> OrgAlerts:
        """With what ``other`` says where this says nothing."""
        return OrgAlerts(
            other.levels if self.levels is None else self.levels,
            other.low_balance if self.low_balance is None else self.low_balance,
        )


UNSAID = OrgAlerts()


@dataclass(frozen=True, slots=True)
class Told:
    """What was announced of one counter: the highest level, and the limit it was of."""

    level: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Ladder:
    """The levels of one limit."""

    limit: int
    enforced: bool
    steps: tuple[tuple[int, int], ...]
    """(amount in microcredits, level in percent), ascending."""
    lowest: str = field(init=False)
    """The first amount, by which the settle script sees at once that there is nothing to tell."""
    text: str = field(init=False)
    """For the scripts: ``enforced amount:level amount:level``, enforced as 1 or 0."""

    def __post_init__(self) -> None:
        steps = " ".join(f"{amount}:{level}" for amount, level in self.steps)
        object.__setattr__(self, "lowest", str(self.steps[0][0]))
        object.__setattr__(self, "text", f"{int(self.enforced)} {steps}")

    @classmethod
    def of(cls, limit: Limit, levels: tuple[int, ...]) -> Ladder | None:
        """None when there is nothing to announce: a limit of nothing has no levels, and end users are too many."""
        wanted = levels if limit.alerts is None else limit.alerts
        if not wanted or limit.amount == 0 or limit.each_end_user:
            return None
        steps = tuple((-(-limit.amount * level // 100), level) for level in sorted(set(wanted)))
        return cls(limit.amount, limit.enforce, steps)

    def reached(self, settled: int, told: Told) -> tuple[int, ...]:
        """The levels that ``settled`` has come to and that are not announced yet, ascending."""
        floor = told.level if told.limit == self.limit else 0
        return tuple(level for amount, level in self.steps if level > floor and settled >= amount)


def balance_reached(reference: int, left: int, levels: tuple[int, ...], told: Told) -> tuple[int, ...]:
    """The levels of a balance: percent used of ``reference``, the balance just after the last top-up."""
    if reference <= 0:
        return ()
    floor = told.level if told.limit == reference else 0
    used = (reference - left) * 100
    return tuple(level for level in sorted(set(levels)) if level > floor and used >= reference * level)
