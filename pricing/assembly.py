"""Putting one model's price together: the catalogue's listing, what pricing.yaml says over it, the
ceilings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pricing.catalogue import Listing
from pricing.ceilings import Ceilings
from pricing.images import PerImage
from pricing.overrides import Factor, Layered
from pricing.price import LEAST_OUTPUT_TOKENS, Price
from pricing.rates import TOKEN_BUCKETS, Rate, Rates, Schedule, dearest, schedule
from pricing.tiers import ONLY_BY_NAME, canonical
from pricing.usage import COUNTS

_CHARGES_FOR_WRITES = "claude"
"""Part of the name of every model whose maker charges for cache writes at fixed multiples of the input."""


def assemble(
    provider: str,
    name: str,
    listing: Listing | None,
    layered: Layered,
    ceilings: Ceilings,
    unit_ceiling_femtousd: int | None,
) -> Price | None:
    """The compiled price, or None: neither the catalogue nor the file has one."""
    standard, variants, factors = _rates(listing, layered, ceilings)
    if not standard and not layered.images:
        return None
    model = listing.model if listing else name
    schedules = _schedules(name, standard, variants, factors)
    base = schedules.pop("")
    automatic = [one for tier, one in schedules.items() if tier not in ONLY_BY_NAME and ":" not in tier]
    price = Price(
        provider=provider,
        model=model,
        ref=_ref(listing, layered),
        standard=base,
        tiers=schedules,
        auto=dearest((base, *automatic)),
        dearest=dearest((base, *schedules.values())),
        max_output_tokens=0,
        overhead_input_tokens=0,
        images=layered.images,
        audio_ms_min=listing.audio_ms_min if listing else 0,
        unit_ceiling_femtousd=unit_ceiling_femtousd,
    )
    return _limited(price, name, listing, layered, ceilings)


def flat(provider: str, name: str, ceiling_femtousd: int, layered: Layered, ceilings: Ceilings) -> Price:
    """A price for a model that has none: every request costs the ceiling, whatever it uses."""
    rates = {bucket: Rate(0) for bucket in COUNTS} | {"requests": Rate(ceiling_femtousd)}
    only = schedule(rates)
    price = Price(
        provider=provider,
        model=name,
        ref="pricing.yaml: unpriced ceiling",
        standard=only,
        tiers={},
        auto=only,
        dearest=only,
        max_output_tokens=0,
        overhead_input_tokens=0,
        images=PerImage.of({"image": 0}),
        any_tier=True,
    )
    return _limited(price, name, None, layered, ceilings)


def _rates(
    listing: Listing | None, layered: Layered, ceilings: Ceilings
) -> tuple[dict[str, Rate], dict[str, Rates], dict[str, Factor]]:
    """Standard rates; full rates of some tiers; factors of other tiers."""
    listed: Rates = listing.rates if listing else {}
    if layered.tokens is not None:
        listed = _without_tokens(listed)
    standard = {**listed, **(layered.tokens or {}), **(layered.units or {})}
    variants: dict[str, Rates] = {}
    factors: dict[str, Factor] = {}
    if listing and layered.tokens is None:
        # the catalogue lists what differs; what it leaves out keeps the standard price
        variants.update({canonical(tier): {**standard, **rates} for tier, rates in listing.tiers.items()})
        shipped = ceilings.tier_factors(listing.provider, listing.model)
        factors.update({tier: f.as_integer_ratio() for tier, f in shipped.items() if tier not in variants})
    for tier, rates in (layered.tier_rates or {}).items():
        # the file states all: a kind of token that it leaves out is not quietly at the standard price
        variants[tier] = {**_without_tokens(standard), **rates}
        factors.pop(tier, None)
    for tier, factor in (layered.tier_factors or {}).items():
        factors[tier] = factor
        variants.pop(tier, None)
    variants.pop("", None)
    return standard, variants, factors


def _schedules(
    name: str, standard: Rates, variants: Mapping[str, Rates], factors: Mapping[str, Factor]
) -> dict[str, Schedule]:
    """By canonical tier, "" for the standard one; every combination with the factors that join others."""
    rates: dict[str, Rates] = {"": standard, **variants}
    for tier, factor in factors.items():
        if ":" not in tier:
            rates[tier] = _scaled(standard, factor)
    for tier, factor in factors.items():
        if ":" in tier:
            rates.update(
                {canonical(f"{other}+{tier}"): _scaled(rates[other], factor) for other in list(rates)}
            )
    charges = _CHARGES_FOR_WRITES in name.lower()
    return {tier: schedule(all_rates, charges_for_writes=charges) for tier, all_rates in rates.items()}


def _without_tokens(rates: Rates) -> Rates:
    return {bucket: rate for bucket, rate in rates.items() if bucket not in TOKEN_BUCKETS}


def _scaled(rates: Rates, factor: Factor) -> Rates:
    """Factors of service tiers are about tokens; a search or an image costs the same in each."""
    return {
        bucket: rate.scaled(*factor) if bucket in TOKEN_BUCKETS else rate for bucket, rate in rates.items()
    }


def _ref(listing: Listing | None, layered: Layered) -> str:
    refs = []
    if layered.tokens_ref is not None:
        refs.append(f"pricing.yaml: {layered.tokens_ref}")
    elif listing is not None:
        refs.append(listing.ref)
    if layered.units_ref is not None and layered.units_ref != layered.tokens_ref:
        refs.append(f"pricing.yaml: {layered.units_ref}")
    return "; ".join(refs)


def _limited(price: Price, name: str, listing: Listing | None, layered: Layered, ceilings: Ceilings) -> Price:
    limits = layered.limits or {}
    window = limits.get("context_window", listing.context_window if listing else None)
    images = layered.image_output_tokens
    return replace(
        price,
        context_window=window,
        max_output_tokens=limits.get("max_output_tokens") or ceilings.max_output_tokens(name, window),
        least_output_tokens=limits.get("least_output_tokens", LEAST_OUTPUT_TOKENS),
        overhead_input_tokens=limits.get("overhead_input_tokens", ceilings.overhead_input_tokens(name)),
        image_output_tokens=ceilings.image_output_tokens(name) if images is None else images,
    )
