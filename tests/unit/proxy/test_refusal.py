"""A refusal tells clients whether to try again, why, and what is left."""

from __future__ import annotations

import pytest

from gateway.errors import (
    BudgetContended,
    BudgetExceeded,
    StoreUnavailable,
    TollgateError,
    UnpricedModel,
    UpstreamError,
)
from gateway.providers.registry import DIALECTS
from gateway.proxy.refusal import refusal

OPENAI = DIALECTS["openai"]


def headers(error: TollgateError) -> dict[str, str]:
    return {name.lower(): value for name, value in refusal(error, OPENAI, "r-1").headers.items()}


@pytest.mark.parametrize("error", [BudgetExceeded(), UnpricedModel()])
def test_what_will_not_change_by_itself_is_not_to_be_retried(error: TollgateError) -> None:
    said = headers(error)
    assert said["x-should-retry"] == "false"
    assert "retry-after" not in said


@pytest.mark.parametrize("error", [BudgetContended(retry_after_s=2), StoreUnavailable()])
def test_what_will_change_says_when(error: TollgateError) -> None:
    said = headers(error)
    assert int(said["retry-after"]) >= 1
    assert "x-should-retry" not in said


def test_a_providers_failure_leaves_the_retry_to_the_sdk() -> None:
    said = headers(UpstreamError())
    assert "x-should-retry" not in said
    assert "retry-after" not in said


def test_every_refusal_has_its_id_and_reason() -> None:
    said = headers(UnpricedModel())
    assert said["x-tollgate-request-id"] == said["x-request-id"] == said["request-id"] == "r-1"
    assert said["x-tollgate-error"] == "unpriced_model"


def test_a_refusal_by_a_limit_says_what_is_left_of_it() -> None:
    detail = {
        "limit_microcredits": 5_000_000,
        "settled_microcredits": 4_000_000,
        "held_microcredits": 250_000,
    }
    assert headers(BudgetExceeded(detail=detail))["x-tollgate-remaining"] == "0.75"


def test_a_limit_that_was_passed_has_nothing_left() -> None:
    detail = {"granted_microcredits": 1, "settled_microcredits": 3, "held_microcredits": 0}
    assert headers(BudgetExceeded(detail=detail))["x-tollgate-remaining"] == "0"


def test_other_refusals_say_nothing_of_limits() -> None:
    assert "x-tollgate-remaining" not in headers(UnpricedModel())
