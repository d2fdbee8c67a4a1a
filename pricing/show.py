"""A model's price as text, for `tollgate prices show MODEL`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from pricing.book import PriceBook
from pricing.catalogue import KINDS
from pricing.errors import UnpricedModel
from pricing.file import UNITS
from pricing.money import format_usd
from pricing.price import Price
from pricing.rates import INDEX, TOKEN_BUCKETS, Schedule

MILLION = 1_000_000
DAY_S = 86_400
_UNIT_OF = {"audio_ms": ("audio minute", 60_000), "video_ms": ("video second", 1_000)} | {
    bucket: (name.replace("_", " "), units)
    for name, (bucket, units) in UNITS.items()
    if name in {"request", "web_search", "search_unit", "page", "million_characters"}
}


def show(
    book: PriceBook, model: str, at_s: int, providers: Sequence[tuple[str, str, str | None]] | None = None
) -> str:
    """All prices of a model at each provider that has one: past, present and announced.

    ``providers``: (name, kind, catalogue) of those in the configuration; None: all that the catalogue knows.
    Raises `UnpricedModel` if none has it.
    """
    asked = providers if providers is not None else _everywhere(book)
    parts = [
        text
        for name, kind, catalogue in asked
        if (text := _of_provider(book, name, kind, catalogue, model, at_s))
    ]
    if not parts:
        if providers is None:
            raise UnpricedModel("any", model, f"The catalogue has no price for model {model!r}.")
        where = ", ".join(name for name, _, _ in asked)
        raise UnpricedModel(where, model, f"There is no price for model {model!r} at any of: {where}.")
    return "\n\n".join(parts)


def _everywhere(book: PriceBook) -> list[tuple[str, str, str | None]]:
    kind_of = {listed: kind for kind, listed in KINDS.items() if listed is not None and kind != "vertex"}
    return [
        (kind_of.get(listed, listed), kind_of.get(listed, listed), None)
        for listed in book.catalogue.providers()
    ]


def _of_provider(
    book: PriceBook, provider: str, kind: str, catalogue: str | None, model: str, at_s: int
) -> str | None:
    last: Price | None = None
    blocks: list[str] = []
    for since, instant, is_now in _versions(book, provider, kind, catalogue, model, at_s):
        try:
            price = book.price(provider, kind, model, instant, catalogue)
        except UnpricedModel:
            continue
        if last is None or is_now or _table(price) != _table(last):
            mark = "  <- now" if is_now else "  (announced)" if instant > at_s else ""
            blocks.append(
                "\n".join([f"  {since}{mark}   [{price.ref}]", *(f"    {x}" for x in _table(price))])
            )
        last = price
    if last is None:
        return None
    head = f"{provider} / {last.model}" + ("" if last.model == model else f"  (asked for: {model})")
    limits = []
    if last.sells_output:
        limits.append(f"output up to {last.max_output_tokens:,} tokens")
    if last.context_window:
        limits.append(f"context window {last.context_window:,} tokens")
    return "\n".join([head, *([f"  {', '.join(limits)}"] if limits else []), *blocks])


def _versions(
    book: PriceBook, provider: str, kind: str, catalogue: str | None, model: str, at_s: int
) -> list[tuple[str, int, bool]]:
    """(since when, an instant of it, whether it holds now): each date, and each hour of today's prices."""
    starts = book.changes(provider, kind, model, catalogue)
    versions = [("before", starts[0] - 1)] if starts else [("always", at_s)]
    versions += [(f"from {dt.datetime.fromtimestamp(start, dt.UTC):%Y-%m-%d}", start) for start in starts]
    now = max((n for n, (_, start) in enumerate(versions) if start <= at_s), default=0)
    shown = [(since, at_s if n == now else instant, n == now) for n, (since, instant) in enumerate(versions)]
    if hours := book.hours(provider, kind, model, catalogue):
        midnight_s = at_s - at_s % DAY_S
        current = max((second for second in hours if second <= at_s % DAY_S), default=hours[-1])
        daily = [
            (f"daily from {dt.datetime.fromtimestamp(second, dt.UTC):%H:%M} UTC", second) for second in hours
        ]
        shown[now : now + 1] = [
            (since, at_s if second == current else midnight_s + second, second == current)
            for since, second in daily
        ]
    return shown


def _table(price: Price) -> list[str]:
    rows: list[tuple[str, str]] = []
    for tier in ("", *sorted(price.tiers)):
        schedule = price.tiers[tier] if tier else price.standard
        for band in schedule.bands:
            name = tier or "standard"
            if band.above > 0:
                name += f", over {band.above:,} input tokens"
            rows.append((name, _tokens(schedule, band.prices)))
    shown = [(name, text) for name, text in rows if text]
    width = max((len(name) for name, _ in shown), default=0)
    lines = [f"{name:<{width}}  {text}" for name, text in shown]
    if lines:
        lines.insert(0, "USD per million tokens")
    units = _units(price)
    return [*lines, *units]


def _tokens(schedule: Schedule, prices: tuple[int, ...]) -> str:
    """Kinds of tokens that cost what the kind above them costs are left out."""
    same_as = {
        "reasoning": "output", "output_audio": "output", "output_image": "output", "input_audio": "input",
        "input_image": "input", "input_video": "input", "cache_read_audio": "cache_read",
        "cache_read_image": "cache_read", "cache_write": "input", "cache_write_1h": "cache_write",
        "cache_write_12h": "cache_write_1h", "cache_read": "input",
    }  # fmt: skip
    texts = []
    for bucket in TOKEN_BUCKETS:
        index = INDEX[bucket]
        if index in schedule.unpriced or (
            bucket in same_as and prices[index] == prices[INDEX[same_as[bucket]]]
        ):
            continue
        texts.append(f"{bucket.replace('_', ' ')} {format_usd(prices[index] * MILLION)}")
    return "   ".join(texts)


def _units(price: Price) -> list[str]:
    band = price.standard.bands[0]
    lines = []
    for bucket, (name, units) in _UNIT_OF.items():
        index = INDEX[bucket]
        if index not in price.standard.unpriced:
            lines.append(f"{format_usd(band.prices[index] * units)} USD per {name}")
    for quality, size, femtousd in price.images.values:
        name = " ".join(part for part in ("image", quality, size) if part)
        lines.append(f"{format_usd(femtousd)} USD per {name}")
    return lines
