"""Taking in a client's request: its body under bounds, its attribution headers, the headers that go on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from itertools import chain
from urllib.parse import unquote_plus

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web

from gateway.errors import BadRequest, BodyTooLarge, RequestTimeout, UnsupportedMediaType
from gateway.providers.credentials import STRIPPED_HEADERS, STRIPPED_QUERY
from gateway.proxy.body_room import Share
from gateway.proxy.decoding import decode_body
from gateway.proxy.header_names import ByName
from pricing.record import record

OFF_LOOP_BYTES = 256 * 1024
"""Work on bodies larger than this is done in a thread, so that no other request waits for it."""

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade"}
)  # fmt: skip
"""RFC 9110 section 7.6.1: these belong to one connection."""

NOT_FORWARDED = (
    HOP_BY_HOP
    | {b"host", b"content-length", b"content-encoding", b"accept-encoding", b"expect"}
    | {name.encode("ascii") for name in STRIPPED_HEADERS}
)
"""Hop-by-hop, rewritten by the gateway, or the client's credentials and what would get around the checks."""

ID_CHARS_MAX = 256
TAGS_MAX = 32
_LIMITED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:-]{0,127}")
"""As ids in limits.yaml: an end user's counters bear the name."""
_TAG = re.compile(r"[^\s=,\x00-\x1f][^=,\x00-\x1f]{0,63}")


def check_head(request: web.BaseRequest, bytes_max: int) -> None:
    """Refuse what the parser lets pass: other versions of HTTP, and too many bytes of headers altogether.

    Raises `BadRequest`. A head is held twice, as it came and as it goes out.
    """
    if request.version not in (HttpVersion11, HttpVersion10):
        raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if len(b"".join(chain.from_iterable(request.raw_headers))) > bytes_max:
        raise BadRequest(f"The headers are larger than the {bytes_max} bytes accepted here.")


async def read_body(
    request: web.BaseRequest, bytes_max: int, timeout_s: float, total_timeout_s: float, share: Share
) -> bytes:
    """The request body, decoded. ``timeout_s``: of silence; ``total_timeout_s``: of all; ``share``: of the memory.

    Raises `BodyTooLarge`, `RequestTimeout`, `BadRequest`, `UnsupportedEncoding`, `GatewayBusy`.
    """
    declared = request.content_length
    if declared is not None and declared > bytes_max:
        raise BodyTooLarge(f"The body is {declared} bytes; {bytes_max} are accepted here.")
    if request.headers.get("expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        _ask_for_body(request)
    content = request.content
    whole = content.is_eof() and content.exception() is None
    if whole:  # as it mostly is: no timer to set
        body = content.read_nowait()
        _take(len(body), 0, bytes_max, share)
    else:
        body = await _awaited(content, bytes_max, timeout_s, total_timeout_s, share)
    encoding = request.headers.get("content-encoding")
    if not encoding:
        return body
    decoded = await asyncio.to_thread(decode_body, encoding, body, bytes_max)
    share.take(len(decoded))
    return decoded


def _take(size: int, before: int, bytes_max: int, share: Share) -> None:
    if before + size > bytes_max:
        raise BodyTooLarge(f"The body is larger than the {bytes_max} bytes accepted here.")
    share.take(size)


async def _awaited(
    content: StreamReader, bytes_max: int, timeout_s: float, total_timeout_s: float, share: Share
) -> bytes:
    pieces: list[bytes] = []
    size = 0
    over_s: float | None = None
    try:
        while not content.at_eof():
            now_s = asyncio.get_running_loop().time()
            over_s = now_s + total_timeout_s if over_s is None else over_s
            async with asyncio.timeout(min(timeout_s, over_s - now_s)):
                piece = await content.readany()
            _take(len(piece), size, bytes_max, share)
            size += len(piece)
            pieces.append(piece)
    except TimeoutError as error:
        if over_s is not None and asyncio.get_running_loop().time() >= over_s:
            raise RequestTimeout(f"The body was not all here after {total_timeout_s:g} s.") from error
        raise RequestTimeout(f"The body stalled: nothing arrived for {timeout_s:g} s.") from error
    except web.RequestPayloadError as error:
        raise BadRequest(
            "The body does not arrive as its transfer-encoding or content-length says."
        ) from error
    if len(pieces) == 1 or size <= OFF_LOOP_BYTES:
        return b"".join(pieces)
    return await asyncio.to_thread(b"".join, pieces)  # joining lets go of the interpreter while it copies


def _ask_for_body(request: web.BaseRequest) -> None:
    """Clients that expect this wait for it before they send a large body: some for a second, some for ever."""
    transport = request.transport
    if transport is not None and not request.content.at_eof():
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def require_json(content_type: str | None) -> None:
    """Raises `UnsupportedMediaType` for a body that a provider might not read as the JSON that was checked here."""
    if content_type and content_type != "application/json":
        _require_json(content_type)


def _require_json(content_type: str) -> None:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [part.partition("=")[2].strip('" ') for part in parameters if part.startswith("charset")]
    if (kind != "application/json" and not kind.endswith("+json")) or any(
        charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets
    ):
        raise UnsupportedMediaType(param="content-type")


def forwarded_headers(request: web.BaseRequest) -> list[tuple[bytes, bytes]]:
    """The client's headers that the provider should see, as they were spelled."""
    kept = [header for header in request.raw_headers if GOES_ON[header[0]]]
    if "connection" not in request.headers:
        return kept
    named: set[bytes] = set()
    for listed in request.headers.getall("connection"):
        named.update(part.strip().lower().encode("latin-1", "replace") for part in listed.split(","))
    return [header for header in kept if header[0].lower() not in named]


def _goes_on(name: bytes) -> bool:
    return name not in NOT_FORWARDED and not name.startswith(b"x-tollgate-")


GOES_ON: ByName[bool] = ByName(_goes_on)
"""Whether a header of this name, however it is spelled, is for the provider too."""


def forwarded_query(query: str) -> str:
    """The raw query string without the parameters that are the gateway's business."""
    if not query:
        return ""
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in STRIPPED_QUERY]
    return "&".join(kept)


@record(frozen=True, slots=True)
class Attribution:
    """Whose work a call is, in the caller's own words."""

    end_user: str | None
    conversation_id: str | None
    tags: Mapping[str, str]


NO_TAGS: Mapping[str, str] = {}
UNSAID = Attribution(None, None, NO_TAGS)


def attribution(headers: Mapping[str, str], *, trusted: bool = False) -> Attribution:
    """The `x-tollgate-user`, `-conversation` and `-tags` headers. Raises `BadRequest` naming the bad one.

    ``trusted``: the end user may have limits, so the name has to be one that counters may be called by.
    """
    end_user = _identifier(headers, "x-tollgate-user")
    if trusted and end_user is not None and not _LIMITED_NAME.fullmatch(end_user):
        raise BadRequest(
            "x-tollgate-user: on this key it names whose limits count; write at most 128 letters, digits and any of "
            "'.', '_', '@', '+', ':', '-', and begin with a letter or digit.",
            param="x-tollgate-user",
        )
    conversation_id = _identifier(headers, "x-tollgate-conversation")
    tags = _tags(headers.get("x-tollgate-tags"))
    if end_user is None and conversation_id is None and tags is NO_TAGS:
        return UNSAID
    return Attribution(end_user, conversation_id, tags)


def _identifier(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    if value is None or not value.strip():
        return None
    if len(value) > ID_CHARS_MAX:
        raise BadRequest(f"{name}: longer than {ID_CHARS_MAX} characters.", param=name)
    if not value.isprintable():
        raise BadRequest(f"{name}: has characters that do not print, or is not UTF-8.", param=name)
    return value.strip()


def _tags(value: str | None) -> Mapping[str, str]:
    if not value or not value.strip():
        return NO_TAGS
    tags: dict[str, str] = {}
    for part in value.split(","):
        key, equals, content = (piece.strip() for piece in part.partition("="))
        printable = key.isprintable() and content.isprintable()
        if not equals or not _TAG.fullmatch(key) or len(content) > ID_CHARS_MAX or not printable:
            raise BadRequest(
                "x-tollgate-tags: write k=v,k2=v2 with keys of at most 64 characters.",
                param="x-tollgate-tags",
            )
        tags[key] = content
    if len(tags) > TAGS_MAX:
        raise BadRequest(f"x-tollgate-tags: more than {TAGS_MAX} tags.", param="x-tollgate-tags")
    return tags
