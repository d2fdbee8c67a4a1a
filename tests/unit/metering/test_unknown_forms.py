"""A reply of a form that is not known is told from an empty one: what it cost is not known, so it is not free."""

from __future__ import annotations

import pytest

from gateway.metering.anthropic import AnthropicReader
from gateway.metering.gemini import GeminiReader
from gateway.metering.openai_chat import OpenAiChatReader
from gateway.metering.openai_responses import OpenAiResponsesReader
from gateway.metering.reply import ReplyReader

READERS = [OpenAiChatReader, OpenAiResponsesReader, AnthropicReader, GeminiReader]
FOREIGN = [
    b"just some text that was generated",
    b'{"generated": "text"}',
    b'[{"generated": "text"}]',
    b'data: {"generated": "text"}\n\ndata: [DONE]\n\n',
    b"data: text\n\n",
    b'{"generated":"te',
    b"\x00\x01\x02\xff",
]
SILENT = [b"", b" \n\n", b": keep-alive\n\n: keep-alive\n\n", b"data: [DONE]\n\n", b"retry: 3\n\n"]
OWN = {
    OpenAiChatReader: b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n',
    OpenAiResponsesReader: b'data: {"type": "response.created", "response": {"id": "r"}}\n\n',
    AnthropicReader: b'event: message_start\ndata: {"type": "message_start", "message": {"id": "m"}}\n\n',
    GeminiReader: b'data: {"candidates": [{"content": {"parts": []}}]}\n\n',
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("body", FOREIGN)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_what_no_reader_knows_is_said_to_be_unread(reader: type[ReplyReader], body: bytes, step: int) -> None:
    reading = _read(reader, body, step)
    assert reading.unread
    assert "unread_reply" in reading.notes
    assert not reading.produced


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("body", SILENT)
def test_what_says_nothing_is_empty(reader: type[ReplyReader], body: bytes) -> None:
    assert not _read(reader, body, 1).unread


@pytest.mark.parametrize("reader", READERS)
def test_the_first_event_of_each_form_is_known(reader: type[ReplyReader]) -> None:
    assert not _read(reader, OWN[reader], 1 << 20).unread
    assert not _read(reader, b'data: {"error": {"message": "no"}}\n\n', 1 << 20).unread


def _read(reader: type[ReplyReader], body: bytes, step: int):  # type: ignore[no-untyped-def]
    made = reader()
    for at in range(0, len(body), step):
        made.feed(body[at : at + step])
    return made.finish()
