"""The ``usage`` object of OpenAI's APIs and of the many that copied it, in all its spellings.

Cached, written, audio, image and reasoning tokens are inside the totals (openai types/completion_usage.py,
types/responses/response_usage.py). Some servers report a part beside its total; their own ``total_tokens``
tells, and where there is none, the kind's option decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from gateway.metering.overlap import Overlapping
from gateway.metering.reply import COUNT_MAX, Json, count, members
from pricing.usage import Usage

_SEARCH_MODELS = re.compile(r"-search-(preview|api)")
_CACHED_BESIDE = frozenset({"prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"})
_SEARCHED = frozenset(
    {"server_tool_use_details", "server_tool_use", "server_side_tool_usage_details", "num_search_queries"}
)


@dataclass(frozen=True, slots=True)
class UsageRules:
    """What a kind of provider does differently, where its own total does not show it."""

    reasoning_beside: bool = False
    """Reasoning tokens are always beside the output (xAI chat; Perplexity, where they are in no total)."""
    rest_is_reasoning: bool = False
    """What ``total_tokens`` has beyond input and output is thinking (Gemini's OpenAI-compatible API)."""


PLAIN = UsageRules()
_COUNTS = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")
_NUMBERS: frozenset[type] = frozenset({int, float, bool})


_PLAIN = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }
)


def plain(usage: Json, rules: UsageRules = PLAIN, model: str | None = None) -> Usage | None:
    """What nearly every chat used: text in, some of it cached, text out, some of it reasoning, and sums that agree.

    None: ``usage`` says more than that, or says it otherwise. Else the same as `overlapping`, for less work.
    """
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if (
        type(read) is not int
        or type(written) is not int
        or usage.get("total_tokens") != read + written
        or not usage.keys() <= _PLAIN
        or rules.reasoning_beside
        or (model is not None and _searches_always(model))
    ):
        return None
    cached = _only(usage.get("prompt_tokens_details"), "cached_tokens")
    reasoning = _only(usage.get("completion_tokens_details"), "reasoning_tokens")
    if 0 <= cached <= read <= COUNT_MAX and 0 <= reasoning <= written <= COUNT_MAX:
        return Usage(input=read - cached, cache_read=cached, output=written - reasoning, reasoning=reasoning)
    return None


def _only(details: object, name: str) -> int:
    """The count of this name, where no other is more than zero; else -1."""
    if not details:
        return 0
    if type(details) is not dict:
        return -1
    others = list(filter(None, details.values()))
    if not others:
        return 0
    found = details.get(name)
    return found if type(found) is int and len(others) == 1 and found else -1


def overlapping(usage: Json, rules: UsageRules = PLAIN, model: str | None = None) -> Overlapping:
    """``usage`` with every part inside its total."""
    read = _input(usage)
    _output(usage, read)
    _beside(usage, rules, read)
    read.web_searches = _web_searches(usage, model)
    return read


def has_counts(usage: object) -> bool:
    """Whether ``usage`` says anything (some servers send ``{}`` or only timings)."""
    return isinstance(usage, dict) and not _NUMBERS.isdisjoint(map(type, map(usage.get, _COUNTS)))


def _input(usage: Json) -> Overlapping:
    details = members(
        usage.get("prompt_tokens_details")
        or usage.get("input_tokens_details")
        or usage.get("input_token_details")
    )
    if "prompt_tokens" in usage or "input_tokens" in usage:
        total = count(usage.get("prompt_tokens")) or count(usage.get("input_tokens"))
    else:
        total = max(0, count(usage.get("total_tokens")) - _output_total(usage))  # embeddings of Voyage
    cached = count(details.get("cached_tokens"))
    if not cached and not _CACHED_BESIDE.isdisjoint(usage):
        cached = (
            count(usage.get("prompt_cache_hit_tokens"))  # DeepSeek
            or count(usage.get("num_cached_tokens"))  # Mistral
            or count(usage.get("cached_tokens"))  # Together, Moonshot
        )
    read = Overlapping(input=total, cached=cached)
    if details and any(details.values()):
        writes = members(details.get("cache_write_tokens_details"))
        cached_details = members(details.get("cached_tokens_details"))
        read.written = count(details.get("cache_write_tokens"))
        read.written_12h = count(writes.get("ttl_12h_tokens"))
        read.input_audio = count(details.get("audio_tokens"))
        read.input_image = count(details.get("image_tokens"))
        read.input_video = count(details.get("video_tokens"))
        read.cached_audio = count(cached_details.get("audio_tokens"))
        read.cached_image = count(cached_details.get("image_tokens"))
    return read


def _output_total(usage: Json) -> int:
    return count(usage.get("completion_tokens")) or count(usage.get("output_tokens"))


def _output(usage: Json, read: Overlapping) -> None:
    details = members(
        usage.get("completion_tokens_details")
        or usage.get("output_tokens_details")
        or usage.get("output_token_details")
    )
    read.output = _output_total(usage)
    read.reasoning = count(details.get("reasoning_tokens")) or count(usage.get("reasoning_tokens"))
    if details:
        read.output_audio = count(details.get("audio_tokens"))
        read.output_image = count(details.get("image_tokens"))


def _beside(usage: Json, rules: UsageRules, read: Overlapping) -> None:
    """Put what is reported beside its total into it: the grand total is the best witness."""
    audio, reasoning = read.input_audio, read.reasoning
    rest = count(usage.get("total_tokens")) - read.input - read.output
    read.input += count(usage.get("citation_tokens"))  # Perplexity: in no total, billed like input
    if rules.reasoning_beside or (reasoning and rest in (reasoning, reasoning + audio)):
        read.output += reasoning
        rest -= reasoning
    if audio and rest == audio:  # Mistral
        read.input += audio
        rest = 0
    if rest <= 0:
        return
    if rules.rest_is_reasoning:
        read.output += rest
        read.reasoning += rest
    else:
        read.notes["total_differs"] = None


def _web_searches(usage: Json, model: str | None) -> int:
    reported = 0 if _SEARCHED.isdisjoint(usage) else _searches_reported(usage)
    if not reported and model is not None and _searches_always(model):
        return 1  # these models search once a call, billed and not reported
    return reported


def _searches_reported(usage: Json) -> int:
    openrouter = members(usage.get("server_tool_use_details") or usage.get("server_tool_use"))
    xai = members(usage.get("server_side_tool_usage_details"))
    return max(
        count(openrouter.get("web_search_requests")),
        count(usage.get("num_search_queries")),  # Perplexity
        count(xai.get("web_search_calls")) + count(xai.get("x_search_calls")),
    )


@lru_cache(maxsize=1024)
def _searches_always(model: str) -> bool:
    return _SEARCH_MODELS.search(model) is not None
