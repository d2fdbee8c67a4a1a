"""Paths that mean one thing only, and which API a path at the root belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from gateway.errors import UnsupportedRoute

PATH_CHARS_MAX = 2_048
"""Longer than any documented path by a factor of ten."""
_PLAIN = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+)+\Z")
_HIDDEN = re.compile(rb"[\x00-\x20\x7f-\xff/\\%?#;.]")
_DOTS = re.compile(r"/\.\.?(?:/|\Z)")
_VERB = re.compile(r"/models/.+:[A-Za-z]+\Z")


@lru_cache(maxsize=1024)
def clean_path(raw_path: str) -> str:
    """``raw_path`` unchanged, if every server reads it the same way; raises `UnsupportedRoute` otherwise.

    Refused: empty segments, ``.`` and ``..``, backslashes, ``;`` parameters, anything not ASCII, and
    percent-encodings of characters that change a path's meaning (or of plain ones that need none: dots).
    """
    hidden = "%" in raw_path and any(
        _HIDDEN.search(unquote_to_bytes(code)) for code in re.findall(r"%[0-9A-Fa-f]{2}", raw_path)
    )
    if raw_path == "/":
        raise UnsupportedRoute(
            "There is nothing at the root itself: it is a base URL, to which SDKs add paths such as /v1/messages."
        )
    if len(raw_path) > PATH_CHARS_MAX or hidden or not _PLAIN.match(raw_path) or _DOTS.search(raw_path):
        raise UnsupportedRoute(
            "This path has segments or characters that servers read differently; send it plainly."
        )
    return raw_path


ROOT_KINDS = frozenset({"gemini", "anthropic", "openai"})
"""The kinds that `guess_kind` tells apart: only these answer at the root."""


def guess_kind(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The kind of provider that a path at the gateway's root is meant for.

    Gemini and OpenAI share ``/v1/models``, so the verb after the last colon, then Google's key, then
    Anthropic's version header decide; what is left is OpenAI.
    """
    if (":" in path and _VERB.search(path)) or "x-goog-api-key" in headers or "key" in query:
        return "gemini"
    if "anthropic-version" in headers or path == "/v1/messages" or path.startswith("/v1/messages/"):
        return "anthropic"
    return "openai"
