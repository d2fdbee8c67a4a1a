"""Bounds that price lists do not state, from dated tables shipped with the package (``data/``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import files
from typing import Any

import yaml

from pricing.images import PerImage
from pricing.money import decimal
from pricing.patterns import Pattern, best

OUTPUT_TOKENS_MAX = 128_000
"""For a model of which nothing is known: what today's largest families declare."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The shipped tables. Each answers for a model's name, the longest matching pattern winning."""

    _output: tuple[tuple[Pattern, int], ...]
    _overhead: tuple[tuple[Pattern, int], ...]
    _images: tuple[tuple[Pattern, PerImage], ...]
    _factors: tuple[tuple[str, Pattern, Mapping[str, Fraction]], ...]

    @classmethod
    def load(cls) -> Ceilings:
        tables = _read("ceilings.yaml")
        return cls(
            _output=tuple((Pattern(name), count) for name, count in tables["max_output_tokens"].items()),
            _overhead=tuple(
                (Pattern(name), count) for name, count in tables["overhead_input_tokens"].items()
            ),
            _images=tuple(
                (Pattern(name), PerImage.of(counts)) for name, counts in tables["image_output_tokens"].items()
            ),
            _factors=tuple(
                (
                    row["catalogue"],
                    Pattern(row["model"]),
                    {tier: Fraction(decimal(factor)) for tier, factor in row["factors"].items()},
                )
                for row in _read("service_tiers.yaml")
            ),
        )

    def max_output_tokens(self, model: str, context_window: int | None) -> int:
        return best(self._output, model) or context_window or OUTPUT_TOKENS_MAX

    def overhead_input_tokens(self, model: str) -> int:
        return best(self._overhead, model) or 0

    def image_output_tokens(self, model: str) -> PerImage:
        return best(self._images, model) or PerImage(())

    def tier_factors(self, catalogue: str, model: str) -> dict[str, Fraction]:
        rows = [(pattern, factors) for name, pattern, factors in self._factors if name == catalogue]
        factors: dict[str, Fraction] = {}
        for pattern, more in sorted(rows, key=lambda row: row[0].rank):
            if pattern.matches(model):
                factors.update(more)
        return factors


def _read(name: str) -> Any:
    return yaml.safe_load(files("pricing").joinpath("data", name).read_text(encoding="utf-8"))
