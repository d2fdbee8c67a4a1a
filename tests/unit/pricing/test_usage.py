"""Buckets of usage: no count of any of them may be negative."""

from __future__ import annotations

import pytest

from pricing.usage import COUNTS, NegativeUsage, Usage

ODD, EVEN = 10**15 + 1, 2**40


@pytest.mark.parametrize("name", COUNTS)
def test_a_negative_count_is_refused_by_its_name_whatever_the_others_are(name: str) -> None:
    others = {other: number for number, other in zip([ODD, EVEN] * len(COUNTS), COUNTS, strict=False)}
    Usage(**others)
    with pytest.raises(NegativeUsage, match=rf"^{name} is -1$"):
        Usage(**{**others, name: -1})
    with pytest.raises(NegativeUsage, match=rf"^{name} is -{EVEN}$"):
        Usage(**{name: -EVEN})
