"""The official Node SDKs get the same through a gateway as without it, and are refused as Python's are.

They run where Node.js is installed; Tollgate itself does not need it. What they need from npm is locked in
tests/node/package-lock.json.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess
from tests.support.simulator import SimulatorProcess, new_label
from tests.support.simulator_calls import Call
from tests.support.simulator_comparison import assert_row_exact

NODE_DIRECTORY = Path(__file__).parent.parent / "node"
NODE_TIMEOUT_S = 100
NPM_TIMEOUT_S = 110
NODE = shutil.which("node") and shutil.which("npm")
RUNS = ["node"] if NODE else []


def _call(name: str, provider: str, model: str, operation: str = "chat") -> Call:
    return Call(name, provider, "", {}, model, operation=operation, streamed="stream" in name)


CALLS = {
    call.name: call
    for call in (
        *(
            _call(name, "openai", "gpt-4o-mini")
            for name in (
                "chat", "chat-stream", "chat-stream-with-usage", "chat-tool", "chat-structured", "respond",
                "respond-stream",
            )
        ),
        _call("embed", "openai", "text-embedding-3-small", "embedding"),
        _call("image", "openai", "gpt-image-1", "image"),
        *(
            _call(name, "anthropic", "claude-sonnet-5-5")
            for name in ("message", "message-stream", "message-tool")
        ),
    )
}  # fmt: skip


@pytest.fixture(scope="session")
def node_sdks() -> Path:
    """The SDKs as the lock file has them, installed once."""
    lock, marker = NODE_DIRECTORY / "package-lock.json", NODE_DIRECTORY / "node_modules/.package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(install, cwd=NODE_DIRECTORY, check=True, capture_output=True, timeout=NPM_TIMEOUT_S)
    return NODE_DIRECTORY


def _run(directory: Path, base: str, key: str, prefix: str) -> dict[str, dict[str, Any]]:
    command = ["node", "calls.mjs", f"{base}/v1", base, key, prefix]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=NODE_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("runtime", RUNS)
def test_the_node_sdks_understand_the_simulator(
    runtime: str, node_sdks: Path, simulator: SimulatorProcess
) -> None:
    prefix = new_label(runtime)
    results = _run(node_sdks, simulator.url, "any-key", prefix)
    assert set(results) == set(CALLS)
    for name, outcome in results.items():
        assert outcome.get("error") is None, (name, outcome)
        [entry] = simulator.requests(f"{prefix}-{name}")
        assert (entry["outcome"], entry["streamed"]) == ("completed", CALLS[name].streamed)


@pytest.mark.parametrize("runtime", RUNS)
def test_results_through_the_gateway_are_the_same_and_rows_exact(
    runtime: str, node_sdks: Path, simulator: SimulatorProcess, gateway: GatewayProcess
) -> None:
    prefix = new_label(runtime)
    expected = _run(node_sdks, simulator.url, "any-key", prefix)
    results = _run(node_sdks, gateway.base, gateway.key, prefix)
    for name, call in CALLS.items():
        label = f"{prefix}-{name}"
        assert _visible(results[name]) == _visible(expected[name]), name
        _, asked_through = simulator.requests(label, at_least=2)
        [row] = gateway.rows(conversation=label)
        assert_row_exact(call, row, asked_through)


def _visible(value: Any) -> Any:
    """A result as a program uses it. Node has no models with defaults: a null ``usage`` in each chunk, there
    because the gateway asked for usage, is as good as none.
    """
    if isinstance(value, dict):
        return {
            name: _visible(below) for name, below in value.items() if not (name == "usage" and below is None)
        }
    return [_visible(below) for below in value] if isinstance(value, list) else value


@pytest.mark.parametrize("runtime", RUNS)
def test_a_spent_budget_raises_at_the_first_answer(
    runtime: str, node_sdks: Path, simulator: SimulatorProcess, gateway: GatewayProcess
) -> None:
    results = _run(node_sdks, gateway.base, gateway.tiny_key, new_label(runtime))
    for name, outcome in results.items():
        error = outcome["error"]
        assert (error["status"], outcome["requests"]) == (402, 1), (name, outcome)
        if CALLS[name].provider == "openai":
            assert (error["name"], error["code"]) == ("APIError", "budget_exceeded")
        else:
            assert error["name"] == "PaymentRequiredError"
    assert simulator.totals()["requests"] == 0
