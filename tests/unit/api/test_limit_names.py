"""Which models a limit may be set for, and that one which was set before can be taken away."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.api.limits import LimitNameParams, LimitSetting


@pytest.mark.parametrize("model", ["models/*", "publishers/google/*"])
def test_a_limit_that_would_be_refused_by_now_can_be_taken_away(model: str) -> None:
    with pytest.raises(ValidationError):
        LimitSetting.model_validate({"window": "day", "model": model, "credits": "1"})
    named = LimitNameParams.model_validate({"window": "day", "model": model})
    assert named.limit("acme").model == model
