"""Calls that the official Python SDKs make, as data, to be made directly and through a gateway.

A call names a method of the SDK's client by its dotted path; its result is everything that the SDK returned,
as plain values, so that two results can be compared with ``==``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import Any

import anthropic
import httpx2
import openai
from genai_prices import Usage as PriceUsage
from genai_prices import calc_price
from google import genai
from google.genai import types as genai_types

PROVIDER_PRICES = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
"""Where genai-prices keeps each of our providers' prices."""


@dataclass(frozen=True)
class Call:
    """One use of an SDK. ``knobs`` go to the simulator as headers."""

    name: str
    provider: str
    """openai | anthropic | gemini: the dialect, and the provider's name in the gateway's configuration."""
    method: str
    arguments: Mapping[str, Any]
    model: str = ""
    operation: str = "chat"
    streamed: bool = False
    knobs: Mapping[str, object] = field(default_factory=dict)
    managed_stream: bool = False
    """The SDK's helper is a context manager with ``get_final_message()``."""
    metered: bool = True

    def __str__(self) -> str:
        return self.name


class Wire:
    """What an SDK did on the wire: the head of each reply, in order."""

    def __init__(self) -> None:
        self.replies: list[httpx2.Response] = []

    def saw(self, reply: httpx2.Response) -> None:
        self.replies.append(reply)

    async def saw_async(self, reply: httpx2.Response) -> None:
        self.replies.append(reply)

    @property
    def request_ids(self) -> list[str]:
        return [reply.headers["x-tollgate-request-id"] for reply in self.replies]


@dataclass(frozen=True)
class Target:
    """Where a call goes, and as whom."""

    base: str
    """``http://host:port``, as the Anthropic and Google SDKs want it."""
    key: str
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: int = 2
    """How often the OpenAI and Anthropic SDKs try again (their default); Google's does not."""


def call_sync(call: Call, target: Target, label: str, wire: Wire | None = None) -> tuple[Any, Wire]:
    """Make the call with the SDK's plain client. ``wire`` sees the replies even if the SDK raises."""
    wire = wire or Wire()
    with httpx2.Client(event_hooks={"response": [wire.saw]}, timeout=60) as http:
        client = _client(call, target, label, http)
        result = attrgetter(call.method)(client)(**call.arguments)
        if call.managed_stream:
            with result as stream:
                return [_plain(event) for event in stream] + [_plain(stream.get_final_message())], wire
        if call.streamed:
            return [_plain(event) for event in result], wire
        return _plain(result), wire


async def call_async(call: Call, target: Target, label: str, wire: Wire | None = None) -> tuple[Any, Wire]:
    """Make the call with the SDK's asyncio client."""
    wire = wire or Wire()
    async with httpx2.AsyncClient(event_hooks={"response": [wire.saw_async]}, timeout=60) as http:
        client = _async_client(call, target, label, http)
        result = attrgetter(call.method)(client)(**call.arguments)
        if call.managed_stream:
            async with result as stream:
                events = [_plain(event) async for event in stream]
                return [*events, _plain(await stream.get_final_message())], wire
        result = await result
        if call.streamed:
            return [_plain(event) async for event in result], wire
        return _plain(result), wire


def _client(call: Call, target: Target, label: str, http: httpx2.Client) -> Any:
    headers = _headers(call, target, label)
    if call.provider == "gemini":
        options = genai_types.HttpOptions(base_url=target.base, headers=headers, httpx_client=http)
        return genai.Client(api_key=target.key, http_options=options)
    common: dict[str, Any] = {
        "api_key": target.key,
        "default_headers": headers,
        "http_client": http,
        "max_retries": target.retries,
    }
    if call.provider == "openai":
        return openai.OpenAI(base_url=f"{target.base}/v1", **common)
    return anthropic.Anthropic(base_url=target.base, **common)


def _async_client(call: Call, target: Target, label: str, http: httpx2.AsyncClient) -> Any:
    headers = _headers(call, target, label)
    if call.provider == "gemini":
        options = genai_types.HttpOptions(base_url=target.base, headers=headers, httpx_async_client=http)
        return genai.Client(api_key=target.key, http_options=options).aio
    common: dict[str, Any] = {
        "api_key": target.key,
        "default_headers": headers,
        "http_client": http,
        "max_retries": target.retries,
    }
    if call.provider == "openai":
        return openai.AsyncOpenAI(base_url=f"{target.base}/v1", **common)
    return anthropic.AsyncAnthropic(base_url=target.base, **common)


def price_of(call: Call, count: Mapping[str, int]) -> Decimal:
    """USD for what the simulator counted, by genai-prices alone."""
    long_writes = count["cache_write_1h_tokens"]
    usage = PriceUsage(
        input_tokens=count["input_tokens"],
        output_tokens=count["output_tokens"],
        cache_read_tokens=count["cached_input_tokens"],
        cache_write_tokens=count["cache_write_tokens"],
        **({"cache_write_1h_tokens": long_writes} if long_writes else {}),
    )
    found = calc_price(usage, model_ref=call.model, provider_id=PROVIDER_PRICES[call.provider])
    return found.total_price


def _headers(call: Call, target: Target, label: str) -> dict[str, str]:
    knobs = {f"x-sim-{name.replace('_', '-')}": str(value) for name, value in call.knobs.items()}
    return {"x-sim-label": label, **knobs, **target.headers}


def _plain(value: Any) -> Any:
    """A result without what belongs to the transport: response headers, request ids."""
    if hasattr(value, "model_dump"):
        dumped = value.model_dump(mode="json", exclude={"sdk_http_response"}, warnings=False)
        if hasattr(value, "data") and isinstance(value.data, list):
            dumped["data"] = [_plain(entry) for entry in value.data]
        return dumped
    return value
