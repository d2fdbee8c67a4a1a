"""The OpenAI SDK gets the same through a gateway as without it, and each call is one exact row."""

from __future__ import annotations

import pytest

from tests.support.gateway import GatewayProcess
from tests.support.simulator import SimulatorProcess, new_label
from tests.support.simulator_calls import Call, call_async, call_sync
from tests.support.simulator_calls_openai import OPENAI_CALLS
from tests.support.simulator_comparison import assert_recorded, direct, through


@pytest.mark.parametrize("call", OPENAI_CALLS, ids=str)
def test_sync_client(call: Call, simulator: SimulatorProcess, gateway: GatewayProcess) -> None:
    label = new_label(call.name)
    expected, _ = call_sync(call, direct(simulator), label)
    result, wire = call_sync(call, through(gateway, label), label)
    assert result == expected
    if call.metered:
        assert_recorded(call, label, simulator, gateway, wire)


@pytest.mark.parametrize("call", OPENAI_CALLS, ids=str)
async def test_async_client(call: Call, simulator: SimulatorProcess, gateway: GatewayProcess) -> None:
    label = new_label(call.name)
    expected, _ = await call_async(call, direct(simulator), label)
    result, wire = await call_async(call, through(gateway, label), label)
    assert result == expected
    if call.metered:
        assert_recorded(call, label, simulator, gateway, wire)
