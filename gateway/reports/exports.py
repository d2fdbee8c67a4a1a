"""What exports contain, column by column: the history request by request, a report's usage day by day."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from gateway.reports.cells import Cell, csv_line
from gateway.reports.history import UsageLine
from gateway.reports.question import Dimension, Group
from pricing.money import MICROCREDITS_PER_CREDIT

DAY_DIMENSIONS = (
    Dimension.TEAM,
    Dimension.USER,
    Dimension.KEY,
    Dimension.PROVIDER,
    Dimension.MODEL,
    Dimension.OPERATION,
)
"""How finely usage is listed in a report, beside the day."""

LINE_COLUMNS = (
    "request_id", "started_at", "finished_at", "operation", "provider", "model", "model_served", "tier", "team", "user",
    "key", "conversation", "end_user", "tags", "streamed", "input_tokens", "cached_input_tokens", "cache_write_tokens",
    "output_tokens", "reasoning_tokens", "credits", "usage_source", "status", "flags",
)  # fmt: skip
DAY_COLUMNS = (
    "date", "team", "user", "key", "provider", "model", "operation", "requests", "errors", "estimated", "unpriced",
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "credits",
)  # fmt: skip


def credits(microcredits: int) -> Decimal:
    """Exact decimal credits."""
    whole, rest = divmod(abs(microcredits), MICROCREDITS_PER_CREDIT)
    amount = Decimal(f"{whole}.{rest:06d}")
    return -amount if microcredits < 0 else amount


def line_csv(line: UsageLine) -> str:
    """One request, in the order of `LINE_COLUMNS`."""
    cells: list[Cell] = [
        *(line.request_id, line.started_at, line.finished_at, line.operation, line.provider, line.model),
        *(line.model_served, line.tier, line.team, line.user, line.key, line.conversation, line.end_user),
        "; ".join(f"{name}={value}" for name, value in sorted(line.tags.items())),
        *(line.streamed, line.input_tokens, line.cached_input_tokens, line.cache_write_tokens),
        *(line.output_tokens, line.reasoning_tokens, credits(line.credits_microcredits)),
        *(line.usage_source, line.status, "; ".join(line.flags)),
    ]
    return csv_line(cells)


def group_csv(group: Group) -> str:
    """One group: its step, its names, its sums; for days by `DAY_DIMENSIONS` in the order of `DAY_COLUMNS`."""
    sums = group.sums
    cells: list[Cell] = [
        *(
            group.step,
            *group.names,
            sums.requests,
            sums.errors,
            sums.estimated,
            sums.unpriced,
            sums.input_tokens,
        ),
        *(sums.cached_input_tokens, sums.cache_write_tokens, sums.output_tokens, sums.reasoning_tokens),
        credits(sums.credits_microcredits),
    ]
    return csv_line(cells)


def group_columns(step: str, dimensions: Iterable[Dimension]) -> tuple[str, ...]:
    """The heading of `group_csv` for these dimensions."""
    return (step, *(str(dimension) for dimension in dimensions), *DAY_COLUMNS[7:])
