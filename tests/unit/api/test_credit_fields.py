"""Amounts in requests: text is taken as the API describes it and in no other spelling."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.api.credit_fields import Credits, SignedCredits

GIVEN: TypeAdapter[int] = TypeAdapter(Credits)
SIGNED: TypeAdapter[int] = TypeAdapter(SignedCredits)


def described(adapter: TypeAdapter[int]) -> str:
    (text,) = (one for one in adapter.json_schema()["anyOf"] if one["type"] == "string")
    return str(text["pattern"])


@pytest.mark.parametrize(
    ("written", "microcredits"),
    [("500", 500_000_000), ("0.25", 250_000), (12.5, 12_500_000), (1e-06, 1), ("9007199254.740992", 2**53)],
)
def test_an_amount_is_exact(written: Any, microcredits: int) -> None:
    assert GIVEN.validate_python(written) == microcredits
    assert SIGNED.validate_python(written) == microcredits


@pytest.mark.parametrize(
    ("written", "microcredits"), [("-12.5", -12_500_000), (-3, -3_000_000), (-1e-06, -1)]
)
def test_an_adjustment_may_be_negative_and_nothing_else(written: Any, microcredits: int) -> None:
    assert SIGNED.validate_python(written) == microcredits
    with pytest.raises(ValidationError):
        GIVEN.validate_python(written)


@pytest.mark.parametrize(
    "written",
    ["1_000", "\uff11\uff12", "1e3", " 7 ", "7\n", "+5", "--5", "-+5", "- 5", "", "-", ".5", "5.", "00000000001",
     "0.0000000", "0.0000001", "9007199254.740993", "NaN", True, None],
)  # fmt: skip
@pytest.mark.parametrize("adapter", [GIVEN, SIGNED], ids=["given", "signed"])
def test_what_is_not_described_is_refused(adapter: TypeAdapter[int], written: Any) -> None:
    with pytest.raises(ValidationError):
        adapter.validate_python(written)
    assert written == "9007199254.740993" or not re.fullmatch(described(adapter), str(written), re.ASCII)
