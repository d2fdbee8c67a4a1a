"""What each API's request asks for: caps, choices, streams, tiers, references, tools, media."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.errors import BadRequest
from gateway.providers import ceilings
from gateway.providers.base import Call
from gateway.providers.registry import DIALECTS
from pricing.usage import Usage

CHAT = (
    "openai",
    "/v1/chat/completions",
    {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]},
)
COMPLETION = ("openai", "/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi"})
RESPONSES = ("openai", "/v1/responses", {"model": "gpt-4o", "input": "Hi"})
EMBEDDING = ("openai", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hi"})
IMAGE = ("openai", "/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"})
MESSAGES = (
    "anthropic",
    "/v1/messages",
    {"model": "claude-sonnet-4-5", "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]},
)
GEMINI = (
    "gemini",
    "/v1beta/models/gemini-2.5-flash:generateContent",
    {"contents": [{"parts": [{"text": "Hi"}]}]},
)
GEMINI_EMBEDDING = ("gemini", "/v1beta/models/e:embedContent", {"content": {"parts": [{"text": "Hi"}]}})

Base = tuple[str, str, dict[str, Any]]
PICTURE = "data:image/png;base64," + "A" * 3_000


def read(base: Base, **changes: Any) -> Call:
    kind, path, body = base
    return read_bytes(kind, path, orjson.dumps({**body, **changes}))


def read_bytes(kind: str, path: str, body: bytes) -> Call:
    route = DIALECTS[kind].match("POST", path, {})
    assert route is not None
    return DIALECTS[kind].read(route, body, {})


def config(**members: Any) -> dict[str, Any]:
    return {"generationConfig": members}


CAPS: list[tuple[Base, str]] = [
    (CHAT, "max_tokens"),
    (CHAT, "max_completion_tokens"),
    (COMPLETION, "max_tokens"),
    (RESPONSES, "max_output_tokens"),
    (MESSAGES, "max_tokens"),
    (CHAT, "n"),
    (COMPLETION, "n"),
    (COMPLETION, "best_of"),
    (IMAGE, "n"),
]


@pytest.mark.parametrize("bad", [0, -1, 1.5, 1.0, 1e3, "5", True, False, [5], {}, 2**31, 2**70])
@pytest.mark.parametrize(("base", "name"), CAPS)
def test_a_cap_or_count_that_is_no_positive_integer_is_refused_by_name(
    base: Base, name: str, bad: object
) -> None:
    body = orjson.dumps({**base[2], name: 0}).replace(
        b'"%b":0' % name.encode(), b'"%b":' % name.encode() + _json(bad)
    )
    with pytest.raises(BadRequest) as refused:
        read_bytes(base[0], base[1], body)
    assert refused.value.param == name


def _json(value: object) -> bytes:
    return str(value).encode() if type(value) is int else orjson.dumps(value)


@pytest.mark.parametrize("bad", [0, -5, 2.5, "100", True, 2**31])
@pytest.mark.parametrize(
    "name", ["maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"]
)
@pytest.mark.parametrize("holder", ["generationConfig", "generation_config"])
def test_gemini_caps_are_checked_in_every_spelling(holder: str, name: str, bad: object) -> None:
    with pytest.raises(BadRequest) as refused:
        read(GEMINI, **{holder: {name: bad}})
    assert refused.value.param == f"{holder}.{name}"


@pytest.mark.parametrize(
    "changes",
    [
        {"generationConfig": {}, "generation_config": {}},
        config(maxOutputTokens=5, max_output_tokens=6),
        config(MaxOutputTokens=5),
        config(maxoutputtokens=5),
        {"GenerationConfig": {}},
    ],
)
def test_gemini_takes_one_spelling_of_a_member(changes: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        read(GEMINI, **changes)


@pytest.mark.parametrize(
    "extra",
    [
        {"web_search_options": {}},
        {"search_parameters": {"mode": "auto"}},
        {"plugins": [{"id": "web"}]},
        {"prediction": {"type": "content", "content": "x" * 100}},
        {"models": ["gpt-4.1"]},
        {"modalities": ["text", "audio"]},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_whatever_may_cost_more_is_looked_at_where_it_comes_alone(extra: dict[str, Any]) -> None:
    plain, dearer = read(CHAT), read(CHAT, **extra)
    grown = len(dearer.body[0]) - len(plain.body[0])
    assert (
        dearer.extra != plain.extra
        or dearer.models_also
        or len(dearer.output_kinds) > 1
        or dearer.input_tokens_max > plain.input_tokens_max + grown
    )


@pytest.mark.parametrize("model", [None, "", 5, "m" * 300, "a\nb", " m", ["m"]])
@pytest.mark.parametrize("base", [CHAT, COMPLETION, RESPONSES, EMBEDDING, MESSAGES])
def test_a_request_without_a_usable_model_is_refused(base: Base, model: object) -> None:
    with pytest.raises(BadRequest) as refused:
        read(base, model=model)
    assert refused.value.param == "model"


@pytest.mark.parametrize("base", [CHAT, COMPLETION, RESPONSES, MESSAGES])
def test_a_stream_flag_must_be_a_boolean(base: Base) -> None:
    assert read(base, stream=True).streamed
    assert not read(base, stream=None).streamed
    with pytest.raises(BadRequest) as refused:
        read(base, stream="true")
    assert refused.value.param == "stream"


@pytest.mark.parametrize(
    ("base", "changes", "cap", "choices"),
    [
        (CHAT, {}, None, 1),
        (CHAT, {"max_tokens": None, "n": None}, None, 1),
        (CHAT, {"max_tokens": 10, "max_completion_tokens": 20, "n": 3}, 20, 3),
        (CHAT, {"max_tokens": 64_000_000}, 64_000_000, 1),
        (COMPLETION, {"max_tokens": 5, "n": 2, "best_of": 4, "prompt": ["a", "b", "c"]}, 5, 12),
        (COMPLETION, {"prompt": [1, 2, 3]}, None, 1),
        (COMPLETION, {"prompt": [[1, 2], [3]]}, None, 2),
        (RESPONSES, {"max_output_tokens": 700}, 700, 1),
        (MESSAGES, {}, 500, 1),
        (GEMINI, config(maxOutputTokens=9, candidateCount=4), 9, 4),
        (GEMINI, {"generation_config": {"max_output_tokens": 9, "candidate_count": 4}}, 9, 4),
        (EMBEDDING, {}, 0, 1),
        (GEMINI_EMBEDDING, {}, 0, 1),
        (IMAGE, {"n": 3}, 0, 3),
    ],
)
def test_output_is_cap_times_choices(
    base: Base, changes: dict[str, Any], cap: int | None, choices: int
) -> None:
    call = read(base, **changes)
    assert (call.output_cap, call.choices) == (cap, choices)


@pytest.mark.parametrize("base", [EMBEDDING, IMAGE, GEMINI_EMBEDDING])
def test_embeddings_and_images_are_not_elastic(base: Base) -> None:
    assert not read(base).elastic


def test_a_cap_may_not_fall_to_the_thinking_budget_or_a_providers_least() -> None:
    call = read(MESSAGES, thinking={"type": "enabled", "budget_tokens": 200})
    assert (call.cap_floor, call.hidden_output) == (200, True)
    assert read(RESPONSES).cap_floor == 15


@pytest.mark.parametrize(
    ("base", "changes", "tier"),
    [
        (CHAT, {"service_tier": "flex"}, "flex"),
        (CHAT, {}, None),
        (CHAT, {"service_tier": "auto"}, "auto"),
        (RESPONSES, {"service_tier": "priority"}, "priority"),
        (MESSAGES, {"service_tier": "standard_only"}, "standard"),
        (GEMINI, {"serviceTier": "flex"}, "flex"),
        (GEMINI, {"service_tier": "priority"}, "priority"),
    ],
)
def test_the_tier_asked_for_is_known(base: Base, changes: dict[str, Any], tier: str | None) -> None:
    assert read(base, **changes).tier == tier


def test_anthropics_speed_and_place_are_known() -> None:
    call = read(MESSAGES, speed="fast", inference_geo="us")
    assert (call.tier, call.speed, call.geo) == (None, "fast", "us")


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"conversation": "conv_1"}),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "something_new"}]}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
        (CHAT, {"messages": [{"role": "assistant", "audio": {"id": "a"}}]}),
        (
            MESSAGES,
            {"messages": [{"content": [{"type": "document", "source": {"type": "url", "url": "u"}}]}]},
        ),
        (
            MESSAGES,
            {"messages": [{"content": [{"type": "document", "source": {"type": "base64", "data": "JV"}}]}]},
        ),
        (MESSAGES, {"container": "c"}),
        (GEMINI, {"cachedContent": "cachedContents/1"}),
        (GEMINI, {"cached_content": "cachedContents/1"}),
        (GEMINI, {"contents": [{"parts": [{"fileData": {"fileUri": "u"}}]}]}),
        (
            GEMINI,
            {"contents": [{"parts": [{"inline_data": {"mime_type": "application/pdf", "data": "JV"}}]}]},
        ),
    ],
)
def test_input_that_the_body_does_not_contain_has_no_bound_in_bytes(
    base: Base, changes: dict[str, Any]
) -> None:
    assert not read(base).input_unbounded
    assert read(base, **changes).input_unbounded


def test_background_responses_are_refused_with_what_to_do_instead() -> None:
    with pytest.raises(BadRequest, match="without it") as refused:
        read(RESPONSES, background=True)
    assert refused.value.param == "background"
    assert read(RESPONSES, background=False)


@pytest.mark.parametrize(
    ("base", "tool"),
    [
        (RESPONSES, {"type": "teleport"}),
        (CHAT, {"type": "teleport"}),
        (MESSAGES, {"type": "teleport_20270101", "name": "t"}),
        (GEMINI, {"teleport": {}}),
        (GEMINI, {"google_search": {}, "teleport": {}}),
        (MESSAGES, {"type": "advisor_20260301", "model": "claude-opus-5"}),
    ],
)
def test_a_tool_without_a_ceiling_is_refused(base: Base, tool: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"ceiling|bound") as refused:
        read(base, tools=[tool])
    assert (refused.value.param or "").startswith("tools[0].")


@pytest.mark.parametrize(
    ("base", "tool"),
    [
        (RESPONSES, {"type": "web_search"}),
        (RESPONSES, {"type": "web_search_preview_2025_03_11"}),
        (MESSAGES, {"type": "web_search_20260318", "name": "web_search"}),
        (GEMINI, {"googleSearch": {}}),
        (GEMINI, {"google_search": {}}),
    ],
)
def test_server_side_search_is_held_and_hidden(base: Base, tool: dict[str, Any]) -> None:
    call = read(base, tools=[tool])
    assert call.extra.web_searches >= ceilings.USES_DEFAULT
    assert call.hidden_output
    assert call.input_tokens_max > 20_000


def test_limits_on_uses_lower_the_ceiling() -> None:
    tool = {"type": "web_search_20260318", "name": "web_search", "max_uses": 1}
    once = read(MESSAGES, tools=[tool])
    assert once.extra.web_searches == 1
    assert once.input_tokens_max < read(MESSAGES, tools=[{**tool, "max_uses": 2}]).input_tokens_max
    assert read(RESPONSES, tools=[{"type": "web_search"}], max_tool_calls=2).extra.web_searches == 2


def test_an_advisor_is_held_at_its_own_model() -> None:
    tool = {
        "type": "advisor_20260301",
        "name": "a",
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "max_uses": 2,
    }
    call = read(MESSAGES, tools=[tool])
    assert call.models_also == ("claude-opus-5-5",)
    assert call.extra.output == 200


def test_fallback_models_are_named() -> None:
    kind, _, body = CHAT
    call = read(("openrouter", "/api/v1/chat/completions", body), models=["x-ai/grok-4"])
    assert call.models_also == ("x-ai/grok-4",)
    assert kind == "openai"


def test_functions_run_by_the_client_are_counted_by_their_bytes() -> None:
    call = read(
        CHAT, tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    )
    assert not call.hidden_output
    assert call.input_tokens_max < 1_000


@pytest.mark.parametrize(
    ("base", "content", "ceiling"),
    [
        (CHAT, {"type": "image_url", "image_url": {"url": PICTURE}}, ceilings.OPENAI_IMAGE_TOKENS),
        (CHAT, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}, ceilings.OPENAI_IMAGE_TOKENS),
        (
            MESSAGES,
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 3_000}},
            ceilings.ANTHROPIC_IMAGE_TOKENS,
        ),
        (
            MESSAGES,
            {
                "type": "tool_result",
                "content": [{"type": "image", "source": {"type": "base64", "data": "A" * 3_000}}],
            },
            ceilings.ANTHROPIC_IMAGE_TOKENS,
        ),
    ],
)
def test_images_count_at_their_ceiling_and_not_by_their_bytes(base: Base, content: Any, ceiling: int) -> None:
    call = read(base, messages=[{"role": "user", "content": [content]}])
    assert ceiling < call.input_tokens_max < ceiling + 400
    assert not call.input_unbounded
    assert call.prompt_texts is not None
    assert not any("AAAA" in text for text in call.prompt_texts())


def test_gemini_images_and_sound_count_at_their_ceiling() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "A" * 4_000}}
    sound = {"inline_data": {"mime_type": "audio/mp3", "data": "A" * 4_000}}
    call = read(GEMINI, contents=[{"parts": [image]}])
    assert ceilings.GEMINI_IMAGE_TOKENS < call.input_tokens_max < ceilings.GEMINI_IMAGE_TOKENS + 200
    call = read(GEMINI, contents=[{"parts": [sound]}])
    assert call.extra == Usage(input_audio=ceilings.AUDIO_TOKENS_LEAST + 120)
    assert call.input_tokens_max < 200


def test_text_hidden_in_what_looks_like_media_is_still_counted() -> None:
    text = "word " * 2_000
    call = read(CHAT, messages=[{"role": "user", "content": [{"type": "text", "text": text, "data": text}]}])
    assert call.input_tokens_max > 2 * len(text)
    assert call.prompt_texts is not None
    assert sum(len(found) for found in call.prompt_texts()) >= 2 * len(text)


def test_a_tokenizer_count_replaces_the_bytes_only() -> None:
    call = read(CHAT, messages=[{"role": "user", "content": "word " * 1_000}])
    assert call.prompt_texts is not None
    assert "".join(call.prompt_texts()).count("word") == 1_000
    assert call.counted_bound(1_001) == call.input_tokens_max - call.text_bytes + 1_001
    assert call.counted_bound(10**9) == call.input_tokens_max


def test_token_arrays_are_bound_by_their_bytes_alone() -> None:
    call = read(EMBEDDING, input=[[1, 2, 3], [4]])
    assert call.prompt_texts is None
    assert call.input_tokens_max >= 4


def test_characters_that_normalise_into_many_are_bound_for_anthropic() -> None:
    plain = read(MESSAGES, system="x" * 300).input_tokens_max
    assert read(MESSAGES, system="\ufdfa" * 100).input_tokens_max >= plain - 300 + 18 * 100


@pytest.mark.parametrize(
    ("changes", "long"),
    [
        (
            {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            True,
        ),
        (
            {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "5m"}}]},
            False,
        ),
        ({"system": [{"type": "text", "text": '"ttl":"1h"', "cache_control": {"type": "ephemeral"}}]}, False),
    ],
)
def test_cache_writes_of_an_hour_are_noticed(changes: dict[str, Any], long: bool) -> None:
    assert read(MESSAGES, **changes).cache_ttl_1h is long


def test_an_escaped_spelling_of_an_hour_is_noticed() -> None:
    body = orjson.dumps({**MESSAGES[2], "cache_control": {"type": "ephemeral", "ttl": "1h"}})
    assert read_bytes("anthropic", "/v1/messages", body.replace(b'"1h"', b'"\\u0031h"')).cache_ttl_1h
    assert read_bytes("anthropic", "/v1/messages", body.replace(b'"ttl"', b'"tt\\u006c"')).cache_ttl_1h


@pytest.mark.parametrize(
    ("kind", "path", "model", "hidden"),
    [
        ("openai", "/v1/chat/completions", "gpt-4o-mini", False),
        ("openai", "/v1/chat/completions", "o3", True),
        ("openai", "/v1/chat/completions", "gpt-6-luna", True),
        ("openai", "/v1/chat/completions", "gpt-5-chat-latest", False),
        ("ollama", "/v1/chat/completions", "qwen3", False),
        ("xai", "/v1/chat/completions", "grok-4", True),
        ("groq", "/openai/v1/chat/completions", "compound-beta", True),
    ],
)
def test_models_that_reason_unseen_are_known(kind: str, path: str, model: str, hidden: bool) -> None:
    assert read((kind, path, CHAT[2]), model=model).hidden_output is hidden


def test_spoken_and_drawn_output_is_priced_as_such() -> None:
    assert read(CHAT, modalities=["text", "audio"]).output_kinds == ("output", "output_audio")
    assert read(GEMINI, **config(responseModalities=["IMAGE"])).output_kinds == ("output", "output_image")


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({"quality": "low", "size": "1024x1024"}, Usage(output_image=272)),
        ({"quality": "medium", "size": "1536x1024", "n": 2}, Usage(output_image=2 * 1_568)),
        ({}, Usage(output_image=6_240)),
        ({"quality": "auto", "size": "auto", "partial_images": 2}, Usage(output_image=6_440)),
        ({"model": "dall-e-3"}, Usage(images=(("standard 1024x1024", 1),))),
        ({"model": "dall-e-3", "quality": "hd", "size": "1792x1024"}, Usage(images=(("hd 1792x1024", 1),))),
        ({"model": None, "size": "256x256", "n": 4}, Usage(images=(("standard 256x256", 4),))),
    ],
)
def test_images_are_held_by_quality_and_size(changes: dict[str, Any], extra: Usage) -> None:
    assert read(IMAGE, **changes).extra == extra


def test_a_body_may_not_name_another_model_than_the_path() -> None:
    assert read(GEMINI, model="models/gemini-2.5-flash")
    with pytest.raises(BadRequest) as refused:
        read(GEMINI, model="models/gemini-2.5-pro")
    assert refused.value.param == "model"
    batch = (
        "gemini",
        "/v1beta/models/e:batchEmbedContents",
        {"requests": [{"model": "models/f", "content": {}}]},
    )
    with pytest.raises(BadRequest):
        read(batch)


def test_anthropic_requires_its_cap() -> None:
    with pytest.raises(BadRequest, match="requires") as refused:
        read(MESSAGES, max_tokens=None)
    assert refused.value.param == "max_tokens"
