"""pricing.yaml: prices and limits of models over the bundled catalogue, validated whole.

```yaml
markup: 1.0                     # factor on the provider's cost
unpriced: refuse                # or {ceiling_usd: 0.50}: what a call to a model without a price is charged
aliases:
  my-model: gpt-4o              # everywhere
  azure: {my-deployment: gpt-4o-mini}   # at one provider
models:
  - provider: openai            # a provider's name or kind, or "*"
    model: "my-model*"          # a name, or a family
    from: 2026-01-01            # midnight UTC, or an instant; absent: always
    usd_per_mtok: {input: 3, cache_read: 0.3, output: 12}
    tiers: [{above: 200000, usd_per_mtok: {input: 6, output: 18}}]
    service_tiers: {flex: 0.5, priority: {usd_per_mtok: {input: 5, output: 20}}}
    usd_per: {web_search: 0.01, "image hd 1024x1024": 0.08}
    max_output_tokens: 32000
```

Each setting is taken from the most specific entry that gives it: an exact name, then the longest wildcard,
then a provider by name, by kind, then any, then the newest ``from`` that is not in the future.
``usd_per_mtok`` replaces all token prices of the model, with their tiers and service tiers; ``usd_per``
replaces or adds the units it names.
A tier name that means the standard price everywhere ("default", "auto") cannot be given another one.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
)
from pydantic_core.core_schema import ValidationInfo

from pricing.errors import BadPricing
from pricing.images import KEY as IMAGE_KEY
from pricing.money import decimal
from pricing.rates import TOKEN_BUCKETS
from pricing.tiers import canonical

PRICE_MAX_USD = 1_000_000
UNITS: Mapping[str, tuple[str, int]] = {
    "request": ("requests", 1),
    "web_search": ("web_searches", 1),
    "search_unit": ("search_units", 1),
    "page": ("pages", 1),
    "character": ("characters", 1),
    "million_characters": ("characters", 1_000_000),
    "audio_second": ("audio_ms", 1_000),
    "audio_minute": ("audio_ms", 60_000),
    "audio_hour": ("audio_ms", 3_600_000),
    "video_second": ("video_ms", 1_000),
}
"""Names in ``usd_per`` beside images -> (usage bucket, how many of its units the price buys)."""


def _price(value: object) -> Decimal:
    usd = decimal(value)
    if usd < 0:
        raise BadPricing(f"must not be negative, got {value!r}")
    if usd > PRICE_MAX_USD:
        raise BadPricing(f"must be at most {PRICE_MAX_USD} USD, got {value!r}")
    return usd


def _factor(value: object) -> Decimal:
    factor = decimal(value)
    if not 0 < factor <= 1000:
        raise BadPricing(f"must be greater than 0 and at most 1000, got {value!r}")
    return factor


def _instant_s(value: object) -> int:
    """Epoch seconds from a date (midnight UTC) or an instant (UTC unless it says otherwise)."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise BadPricing(f"must be a date such as 2026-01-31, got {value!r}") from None
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return int(aware.timestamp())
    if isinstance(value, dt.date):
        return int(dt.datetime.combine(value, dt.time(), dt.UTC).timestamp())
    raise BadPricing(f"must be a date such as 2026-01-31, got {value!r}")


def _token_bucket(name: str) -> str:
    if name not in TOKEN_BUCKETS:
        raise BadPricing(f"unknown kind of token {name!r}; known are {', '.join(TOKEN_BUCKETS)}")
    return name


def _unit(name: str) -> str:
    if name not in UNITS and not IMAGE_KEY.fullmatch(name):
        raise BadPricing(
            f'unknown unit {name!r}; known are {", ".join(UNITS)} and "image", "image QUALITY", "image WxH", '
            f'"image QUALITY WxH"'
        )
    return name


def _image_key(name: str) -> str:
    if not IMAGE_KEY.fullmatch(name):
        raise BadPricing(f'must be written "image", "image QUALITY" or "image QUALITY WxH", got {name!r}')
    return name


Usd = Annotated[Decimal, BeforeValidator(_price)]
Factor = Annotated[Decimal, BeforeValidator(_factor)]
InstantS = Annotated[int, BeforeValidator(_instant_s)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
TokenPrices = Annotated[dict[Annotated[str, BeforeValidator(_token_bucket)], Usd], Field(min_length=1)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**31)]


_SCALAR, _MAPPING = "<scalar>", "<mapping>"
"""Tags of the two forms that some settings have; they are left out of the paths in messages."""


def _form(value: object) -> str:
    return _MAPPING if isinstance(value, Mapping | BaseModel) else _SCALAR


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class ContextTier(_Section):
    """Prices of *all* tokens once a request's total input, cached tokens included, is over ``above``."""

    above: Annotated[int, Field(strict=True, gt=0)]
    usd_per_mtok: TokenPrices


class _Tiered(_Section):
    """Token prices, and those of long contexts. Rules are of fields, not of the whole: they are told in the same run
    as what is wrong with other fields."""

    @field_validator("tiers", check_fields=False)
    @classmethod
    def _ascending(cls, tiers: tuple[ContextTier, ...], info: ValidationInfo) -> tuple[ContextTier, ...]:
        thresholds = [tier.above for tier in tiers]
        if thresholds != sorted(set(thresholds)):
            raise BadPricing("tiers must ascend in `above`, each once")
        if tiers and "usd_per_mtok" in info.data:
            if info.data["usd_per_mtok"] is None:
                raise BadPricing("tiers need usd_per_mtok in the same entry")
            for tier in tiers:
                if extra := set(tier.usd_per_mtok) - set(info.data["usd_per_mtok"]):
                    raise BadPricing(
                        f"tier above {tier.above} prices {', '.join(sorted(extra))}, the entry itself does not"
                    )
        return tiers


class ServiceTier(_Tiered):
    """All token prices of one service tier, as ``usd_per_mtok`` of an entry states all of the standard
    one."""

    usd_per_mtok: TokenPrices
    tiers: tuple[ContextTier, ...] = ()


class ModelEntry(_Tiered):
    provider: Name
    model: Name
    since_s: InstantS | None = Field(default=None, alias="from")
    """Epoch seconds; None: always."""
    usd_per_mtok: TokenPrices | None = None
    tiers: tuple[ContextTier, ...] = ()
    service_tiers: dict[
        Name,
        Annotated[
            Annotated[Factor, Tag(_SCALAR)] | Annotated[ServiceTier, Tag(_MAPPING)], Discriminator(_form)
        ],
    ] = Field(default_factory=dict)
    """By name (see `pricing.tiers`): a factor on all token prices, or prices."""
    usd_per: dict[Annotated[str, BeforeValidator(_unit)], Usd] = Field(default_factory=dict)
    max_output_tokens: Annotated[Count, Field(gt=0)] | None = None
    context_window: Annotated[Count, Field(gt=0)] | None = None
    least_output_tokens: Annotated[Count, Field(gt=0)] | None = None
    overhead_input_tokens: Count | None = None
    image_output_tokens: dict[Annotated[str, BeforeValidator(_image_key)], Count] | None = None

    @field_validator("service_tiers")
    @classmethod
    def _not_the_standard_tier(
        cls, value: dict[str, Decimal | ServiceTier]
    ) -> dict[str, Decimal | ServiceTier]:
        if standard := [name for name in value if not canonical(name)]:
            raise BadPricing(f"service tier {standard[0]!r} is the standard one; price it with usd_per_mtok")
        return value

    @field_validator("usd_per")
    @classmethod
    def _each_thing_once(cls, value: dict[str, Decimal]) -> dict[str, Decimal]:
        units = [UNITS[name][0] for name in value if name in UNITS]
        if len(units) != len(set(units)):
            raise BadPricing("usd_per names the same thing in two units")
        return value

    @property
    def where(self) -> str:
        """The entry's identity, for references and messages."""
        since = (
            ""
            if self.since_s is None
            else f" from {dt.datetime.fromtimestamp(self.since_s, dt.UTC):%Y-%m-%d}"
        )
        return f"{self.provider}/{self.model}{since}"


class Ceiling(_Section):
    """What a call to a model without a price is charged: held in full, charged in full, and flagged."""

    ceiling_usd: Annotated[Decimal, BeforeValidator(_price), Field(gt=0)]


class PricingFile(_Section):
    """The whole of pricing.yaml."""

    markup: Factor = Decimal(1)
    unpriced: Annotated[
        Annotated[Literal["refuse"], Tag(_SCALAR)] | Annotated[Ceiling, Tag(_MAPPING)], Discriminator(_form)
    ] = "refuse"
    aliases: dict[
        Name,
        Annotated[
            Annotated[Name, Tag(_SCALAR)] | Annotated[dict[Name, Name], Tag(_MAPPING)], Discriminator(_form)
        ],
    ] = Field(default_factory=dict)
    models: tuple[ModelEntry, ...] = ()

    @field_validator("aliases")
    @classmethod
    def _no_alias_of_an_alias(cls, value: dict[str, str | dict[str, str]]) -> dict[str, str | dict[str, str]]:
        pairs: list[tuple[str, str]] = []
        for name, target in value.items():
            pairs.extend([(name, target)] if isinstance(target, str) else target.items())
        names = {name for name, _ in pairs}
        reasons = [f"alias {name!r}: wildcards do not work here" for name, to in pairs if "*" in name + to]
        reasons += [
            f"alias {name!r} points to {to!r}, which is an alias itself" for name, to in pairs if to in names
        ]
        if reasons:
            raise BadPricing("\n".join(reasons))
        return value

    def resolve_alias(self, provider: str, model: str) -> str:
        """The real name of a model; an alias at the provider goes before one for all."""
        own = self.aliases.get(provider)
        if isinstance(own, dict) and model in own:
            return own[model]
        everywhere = self.aliases.get(model)
        return everywhere if isinstance(everywhere, str) else model

    @classmethod
    def parse(cls, data: Mapping[str, Any] | None, source: str = "pricing.yaml") -> PricingFile:
        """Validate what was read from YAML. Raises `BadPricing` naming source, path and reason of each
        error."""
        if data is not None and not isinstance(data, Mapping):
            raise BadPricing(f"{source}: must be a mapping, got {type(data).__name__}")
        file, lines = None, []
        try:
            file = cls.model_validate(dict(data or {}))
        except ValidationError as error:
            lines = [line for item in error.errors() for line in _explain(source, dict(item))]
        lines += [f"{source}: {line}" for line in _repeated((data or {}).get("models"))]
        if file is None or lines:
            raise BadPricing("\n".join(lines))
        return file


def _repeated(models: object) -> Iterator[str]:
    """Entries that say the same of the same, among those that are valid."""
    seen: dict[tuple[str, str, int | None], int] = {}
    for index, raw in enumerate(models if isinstance(models, list | tuple) else ()):
        try:
            entry = ModelEntry.model_validate(raw)
        except ValidationError:
            continue  # what is wrong with it is told elsewhere
        key = (entry.provider.lower(), entry.model.lower(), entry.since_s)
        if key in seen:
            yield f"models[{index}] repeats models[{seen[key]}]: {entry.where}"
        seen[key] = index


def scale(factor: Decimal) -> tuple[int, int]:
    """A factor as numerator and denominator."""
    return Fraction(factor).as_integer_ratio()


def _explain(source: str, error: Mapping[str, Any]) -> list[str]:
    path = ""
    for part in error["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in {_SCALAR, _MAPPING, "[key]"}:
            path += f".{part}" if path else part
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        reason = f"unknown setting{_suggestion(error['loc'])}"
    elif error["type"] == "missing":
        reason = "is required: add it"
    return [f"{source}: {path}: {line}" if path else f"{source}: {line}" for line in reason.splitlines()]


def _suggestion(loc: tuple[int | str, ...]) -> str:
    """What may have been meant by an unknown setting of the file or of one of its entries."""
    sections: dict[int, type[_Section]] = {1: PricingFile, 3: ModelEntry}
    section = sections.get(len(loc))
    if section is None:
        return ""
    known = [field.alias or name for name, field in section.model_fields.items()]
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
