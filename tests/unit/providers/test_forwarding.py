"""A forwarded body differs from the client's in the caps and the usage flag only."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.providers.base import Call
from gateway.providers.registry import DIALECTS

CHAT = b'{"model":"gpt-4o","messages":[]%b}'


def forward(kind: str, path: str, body: bytes, cap: int | None) -> tuple[bytes, Call]:
    dialect = DIALECTS[kind]
    route = dialect.match("POST", path, {})
    assert route is not None
    call = dialect.read(route, body, {})
    return b"".join(dialect.forward(call, cap)), call


@pytest.mark.parametrize(
    ("kind", "path", "body", "cap", "expected"),
    [
        ("openai", "/v1/chat/completions", '{ "model":"m","messages":[]}', 9,
         '{"max_completion_tokens":9, "model":"m","messages":[]}'),
        ("groq", "/openai/v1/chat/completions", '{"model":"m","messages":[]}', 9,
         '{"max_tokens":9,"model":"m","messages":[]}'),
        ("openai", "/v1/completions", '{"model":"m"}', 9, '{"max_tokens":9,"model":"m"}'),
        ("openai", "/v1/responses", '{"model":"m"}', 99, '{"max_output_tokens":99,"model":"m"}'),
        ("openai", "/v1/chat/completions",
         '{"model":"m","messages":[],"max_tokens" : 50 ,"max_completion_tokens":5}', 9,
         '{"model":"m","messages":[],"max_tokens" : 9 ,"max_completion_tokens":5}'),
        ("openai", "/v1/chat/completions", '{"model":"m","messages":[],"max_tokens":null}', 9,
         '{"max_completion_tokens":9,"model":"m","messages":[],"max_tokens":null}'),
        ("openai", "/v1/chat/completions", '{"model":"m","messages":[],"max_completion_tokens":null}', 9,
         '{"model":"m","messages":[],"max_completion_tokens":9}'),
        ("openai", "/v1/chat/completions", '{"model":"m","messages":[],"max_tokens":9}', 9,
         '{"model":"m","messages":[],"max_tokens":9}'),
        ("anthropic", "/v1/messages", '{"model":"m","max_tokens":50,"messages":[]}', 9,
         '{"model":"m","max_tokens":9,"messages":[]}'),
        ("gemini", "/v1/models/m:generateContent", "{}", 9, '{"generationConfig":{"maxOutputTokens":9}}'),
        ("gemini", "/v1/models/m:generateContent", '{"contents":[]}', 9,
         '{"generationConfig":{"maxOutputTokens":9},"contents":[]}'),
        ("gemini", "/v1/models/m:generateContent", '{"generationConfig":null}', 9,
         '{"generationConfig":{"maxOutputTokens":9}}'),
        ("gemini", "/v1/models/m:generateContent", '{"generation_config":{}}', 9,
         '{"generation_config":{"maxOutputTokens":9}}'),
        ("gemini", "/v1/models/m:generateContent", '{"generationConfig":{"topK":1}}', 9,
         '{"generationConfig":{"maxOutputTokens":9,"topK":1}}'),
        ("gemini", "/v1/models/m:generateContent", '{"generation_config":{"max_output_tokens":50}}', 9,
         '{"generation_config":{"max_output_tokens":9}}'),
        ("gemini", "/v1/models/m:generateContent",
         '{"generation_config":{"max_output_tokens":null,"topK":1}}', 9,
         '{"generation_config":{"max_output_tokens":9,"topK":1}}'),
        ("gemini", "/v1/models/m:generateContent",
         '{"tools":[{"computerUse":{"maxOutputTokens":1}}],"generationConfig":{"maxOutputTokens":50}}', 9,
         '{"tools":[{"computerUse":{"maxOutputTokens":1}}],"generationConfig":{"maxOutputTokens":9}}'),
    ],
)  # fmt: skip
def test_caps_are_lowered_where_they_stand_and_added_where_absent(
    kind: str, path: str, body: str, cap: int, expected: str
) -> None:
    sent, _ = forward(kind, path, body.encode(), cap)
    assert sent.decode() == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"", b'{"stream_options":{"include_usage":true},"model":"gpt-4o","messages":[],"stream":true}'),
        (b',"stream_options":null', CHAT % b',"stream":true,"stream_options":{"include_usage":true}'),
        (b',"stream_options":{}', CHAT % b',"stream":true,"stream_options":{"include_usage":true}'),
        (
            b',"stream_options":{"include_obfuscation":false}',
            CHAT % b',"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}',
        ),
        (
            b',"stream_options":{"include_usage":false}',
            CHAT % b',"stream":true,"stream_options":{"include_usage":true}',
        ),
        (
            b',"stream_options":{"include_usage":null}',
            CHAT % b',"stream":true,"stream_options":{"include_usage":true}',
        ),
    ],
)
def test_usage_is_asked_for_in_streams_that_do_not(options: bytes, expected: bytes) -> None:
    sent, call = forward("openai", "/v1/chat/completions", CHAT % (b',"stream":true' + options), None)
    assert sent == expected
    assert call.usage_injected
    assert DIALECTS["openai"].usage_filter(call) is not None


@pytest.mark.parametrize(
    ("kind", "path", "members"),
    [
        ("openai", "/v1/chat/completions", b',"stream":true,"stream_options":{"include_usage":true}'),
        ("openai", "/v1/chat/completions", b',"stream":false'),
        ("mistral", "/v1/chat/completions", b',"stream":true'),
        ("openai", "/v1/responses", b',"stream":true'),
    ],
)
def test_usage_is_not_asked_for_where_it_must_not_be(kind: str, path: str, members: bytes) -> None:
    body = CHAT % members
    sent, call = forward(kind, path, body, None)
    assert sent == body
    assert DIALECTS[kind].usage_filter(call) is None


@pytest.mark.parametrize("options", [b"[]", b"true", b'{"include_usage":1}', b'{"Include_Usage":true}'])
def test_odd_stream_options_are_refused(options: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        forward(
            "openai", "/v1/chat/completions", CHAT % (b',"stream":true,"stream_options":' + options), None
        )
    assert (refused.value.param or "").startswith("stream_options")


words = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ['"max_tokens"', '"stream_options":{}', "max_tokens", '\\"']
)


@given(
    st.lists(words, max_size=3),
    st.dictionaries(
        st.sampled_from(["max_tokens", "max_completion_tokens"]), st.none() | st.integers(1, 10**6)
    ),
    st.sampled_from(
        [None, {}, {"include_usage": False}, {"include_usage": True}, {"include_obfuscation": True}]
    ),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 10**6),
    st.randoms(use_true_random=False),
)
def test_nothing_else_changes(
    prompts: list[str],
    caps: dict[str, Any],
    options: Any,
    stream: bool,
    ascii_only: bool,
    cap: int | None,
    random: Any,
) -> None:
    body: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": text} for text in prompts],
        "metadata": {"max_tokens": 3, "stream_options": prompts},
        "stream": stream,
        "stream_options": options,
        **caps,
    }
    names = list(body)
    random.shuffle(names)
    body = {name: body[name] for name in names}
    original = json.dumps(body, ensure_ascii=ascii_only).encode()
    sent, call = forward("openai", "/v1/chat/completions", original, cap)
    result = orjson.loads(sent)
    given = [value for value in caps.values() if value is not None]
    if cap is not None:
        limits = [
            result.get(name)
            for name in ("max_tokens", "max_completion_tokens")
            if result.get(name) is not None
        ]
        assert limits
        assert max(limits) == min([cap, *([max(given)] if given else [])])
    if stream:
        assert result["stream_options"]["include_usage"] is True
    kept = {
        name: value
        for name, value in result.items()
        if name in body and name not in (*caps, "stream_options")
    }
    assert kept == {name: value for name, value in body.items() if name not in (*caps, "stream_options")}
    assert set(result) - set(body) <= {"max_completion_tokens"}
    assert _without(sent, call, cap) == original


def _without(sent: bytes, call: Call, cap: int | None) -> bytes:
    """``sent`` with every edit undone in order, by the spans that the call recorded."""
    original = bytes(call.body[0])
    edits = [(e.start, e.end, e.data) for e in call.edits]
    if cap is not None:
        edits += [(c.start, c.end, b"%d" % cap) for c in call.caps if c.value > cap]
        if not call.caps and call.cap_slot is not None:
            slot = call.cap_slot
            edits.append((slot.start, slot.end, slot.before + b"%d" % cap + slot.after))
    for start, end, data in sorted(edits, key=lambda edit: edit[:2]):
        assert sent[start : start + len(data)] == data
        sent = sent[:start] + original[start:end] + sent[start + len(data) :]
    return sent
