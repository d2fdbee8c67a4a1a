"""A spent budget is refused once: every SDK raises at the first answer, and the provider is not asked."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from google.genai import errors as genai_errors

from tests.support.gateway import GatewayProcess
from tests.support.simulator import SimulatorProcess, new_label
from tests.support.simulator_calls import Call, Target, Wire, call_async, call_sync
from tests.support.simulator_calls_anthropic import ANTHROPIC_CALLS
from tests.support.simulator_calls_gemini import GEMINI_CALLS
from tests.support.simulator_calls_openai import OPENAI_CALLS

NAMES = {
    "chat", "chat-stream", "completion", "respond", "respond-stream", "embed", "image",
    "message", "message-stream", "generate", "generate-stream",
}  # fmt: skip
CALLS = [call for call in (*OPENAI_CALLS, *ANTHROPIC_CALLS, *GEMINI_CALLS) if call.name in NAMES]
REASON = "budget_exceeded"


def _id(call: Call) -> str:
    return f"{call.provider}:{call.name}"


def _without_money(gateway: GatewayProcess) -> Target:
    return Target(gateway.base, gateway.tiny_key)


def _assert_refused(call: Call, error: Any, wire: Wire, simulator: SimulatorProcess) -> None:
    if call.provider == "openai":
        assert type(error) is openai.APIStatusError
        assert (error.status_code, error.code) == (402, REASON)
    elif call.provider == "anthropic":
        assert type(error) is anthropic.PaymentRequiredError
        assert error.type == "billing_error"
        assert error.body["error"]["details"]["error_code"] == REASON
    else:
        assert type(error) is genai_errors.ClientError
        assert (error.code, error.status) == (402, "RESOURCE_EXHAUSTED")
    [reply] = wire.replies
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-tollgate-error"] == REASON
    assert "retry-after" not in reply.headers
    assert simulator.totals()["requests"] == 0


@pytest.mark.parametrize("call", CALLS, ids=_id)
def test_sync_client(call: Call, simulator: SimulatorProcess, gateway: GatewayProcess) -> None:
    wire = Wire()
    with pytest.raises((openai.APIError, anthropic.APIError, genai_errors.APIError)) as caught:
        call_sync(call, _without_money(gateway), new_label("refused"), wire)
    _assert_refused(call, caught.value, wire, simulator)


@pytest.mark.parametrize("call", CALLS, ids=_id)
async def test_async_client(call: Call, simulator: SimulatorProcess, gateway: GatewayProcess) -> None:
    wire = Wire()
    with pytest.raises((openai.APIError, anthropic.APIError, genai_errors.APIError)) as caught:
        await call_async(call, _without_money(gateway), new_label("refused"), wire)
    _assert_refused(call, caught.value, wire, simulator)
