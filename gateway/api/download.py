"""Replies that are written as they are read, so that a long export takes no more memory than a short one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from gateway.api.operation import Call

CHUNK_BYTES = 64 * 1024
EXPORT_TIMEOUT_S = 600.0
"""A reader that takes longer than this for one export keeps a snapshot of the database open: it is cut off."""


async def download(
    call: Call[Any, Any], content_type: str, file_name: str | None, parts: AsyncGenerator[str | bytes]
) -> web.StreamResponse:
    """Send ``parts`` one after another; as a file of that name, if it has one. What goes wrong before the first part is
    an error reply; what goes wrong later ends the connection, so that nobody takes a part for the whole."""
    headers = {"cache-control": "no-store"}
    if file_name is not None:
        headers["content-disposition"] = f'attachment; filename="{file_name}"'
    response = call.stream(content_type, headers)
    waiting = bytearray()
    async with asyncio.timeout(EXPORT_TIMEOUT_S), aclosing(parts) as chunks:
        async for part in chunks:
            waiting += part if isinstance(part, bytes) else part.encode()
            if len(waiting) >= CHUNK_BYTES:
                await _send(call, response, waiting)
        await _send(call, response, waiting)
        await response.write_eof()
    return response


async def _send(call: Call[Any, Any], response: web.StreamResponse, waiting: bytearray) -> None:
    if not response.prepared:
        await response.prepare(call.request)
    await response.write(bytes(waiting))
    waiting.clear()
