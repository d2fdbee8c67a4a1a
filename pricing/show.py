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
        where = ", ".join(name for name, _, _ in asked) if providers is not None else "any provider"
        raise UnpricedModel(where, model)
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
    starts = book.changes(provider, kind, model, catalogue)
    instants = sorted({*starts, at_s}) if not starts or at_s < starts[0] else list(starts)
    if starts and at_s >= starts[0]:
        instants.insert(0, starts[0] - 1)
    current = max((instant for instant in instants if instant <= at_s), default=at_s)
    blocks: list[str] = []
    last: Price | None = None
    for instant in instants:
        try:
            price = book.price(provider, kind, model, at_s if instant == current else instant, catalogue)
        except UnpricedModel:
            continue
        if last is None or _table(price) != _table(last) or instant == current:
            since = (
                dt.datetime.fromtimestamp(instant, dt.UTC).strftime("%Y-%m-%d") if instant in starts else None
            )
            blocks.append(_block(price, since, instant > at_s, instant == current))
        last = price
    if last is None:
        return None
    head = f"{provider} / {last.model}" + ("" if last.model == model else f"  (asked for: {model})")
    limits = f"  output up to {last.max_output_tokens:,} tokens" + (
        f", context window {last.context_window:,}" if last.context_window else ""
    )
    return "\n".join([head, limits, *blocks])


def _block(price: Price, since: str | None, future: bool, current: bool) -> str:
    when = f"from {since}" if since else "until the first date below" if not current else "at all times"
    mark = "  <- now" if current else "  (announced)" if future else ""
    return "\n".join([f"  {when}{mark}   [{price.ref}]", *(f"    {line}" for line in _table(price))])


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
        lines.insert(0, f"{'USD per million tokens':<{width}}")
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
