"""What a Gemini request puts into the model: contents, media, tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadRequest
from gateway.providers import ceilings, fields
from gateway.providers.spelling import pick
from gateway.providers.tally import Tally, known_tool

_AUDIO = {
    "mpeg": "mp3",
    "mp3": "mp3",
    "wav": "wav",
    "x-wav": "wav",
    "wave": "wav",
    "l16": "pcm",
    "pcm": "pcm",
}
_DEPTH_MAX = 4


def take_contents(root: Mapping[str, Any], tally: Tally) -> None:
    contents = fields.items(root, "contents")
    tally.messages += len(contents)
    name, instruction = pick(root, "systemInstruction")
    if pick(root, "cachedContent")[1] is not None:
        tally.reference()
    for content in [*contents, fields.child(root, name)] if instruction is not None else contents:
        if not isinstance(content, dict):
            raise BadRequest("Each of 'contents' must be an object with parts.", param="contents")
        _take_parts(content.get("parts"), tally, _DEPTH_MAX)


def _take_parts(parts: object, tally: Tally, depth: int) -> None:
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list):
        return
    if depth == 0:
        tally.reference()
        return
    for part in parts:
        if not isinstance(part, dict):
            continue
        if pick(part, "fileData")[1] is not None:
            tally.reference()
        inline = pick(part, "inlineData")[1]
        if isinstance(inline, dict):
            _take_inline(inline, tally)
        answer = pick(part, "functionResponse")[1]
        if isinstance(answer, dict):
            _take_parts(answer.get("parts"), tally, depth - 1)


def _take_inline(inline: Mapping[str, Any], tally: Tally) -> None:
    """Inline media by its type. Text stays in the byte count: base64 is longer than what it encodes."""
    data = inline.get("data")
    form = pick(inline, "mimeType")[1]
    family, _, subtype = form.lower().partition("/") if isinstance(form, str) else ("", "", "")
    if family == "image":
        tally.image(ceilings.GEMINI_IMAGE_TOKENS, data if isinstance(data, str) else None)
    elif family == "audio":
        tally.audio(data, _AUDIO.get(subtype.partition(";")[0].strip(), ""))
    elif family != "text":
        tally.reference()  # PDF and video: their bytes do not bound their pages and seconds


def take_tools(root: Mapping[str, Any], tally: Tally) -> None:
    tools = fields.items(root, "tools")
    if tools:
        tally.tool_tokens += ceilings.GEMINI_TOOLS_PROMPT
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise BadRequest(f"{where} must be an object that describes tools.", param=where)
        for name, value in tool.items():
            if value is None:
                continue
            folded = name.replace("_", "").lower()
            tally.tool(known_tool(ceilings.GEMINI_TOOLS, folded, f"{where}.{name}"[:200]), None)
