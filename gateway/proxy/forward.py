"""The head of a request as its provider should see it."""

from __future__ import annotations

from aiohttp import web

from gateway.proxy.intake import forwarded_headers, forwarded_query
from gateway.proxy.provider import Provider


def request_head(
    request: web.BaseRequest, provider: Provider, path: str, api_key: str | None, body_bytes: int | None
) -> bytes:
    """The request line and headers, ready to be written. ``path`` is what follows the provider's base_url."""
    pool = provider.pool
    target = pool.prefix + path
    raw_query = request.raw_path.partition("?")[2]
    if raw_query and (query := forwarded_query(request.rel_url.raw_query_string)):
        target = f"{target}?{query}"
    lines = [
        f"{request.method} {target} HTTP/1.1".encode("ascii"),
        pool.own_headers,
        *map(b": ".join, forwarded_headers(request)),
    ]
    if api_key is not None:
        headers = provider.dialect.auth_headers(api_key)
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
    lines.append(b"content-length: %d\r\n\r\n" % body_bytes if body_bytes is not None else b"\r\n")
    return b"\r\n".join(lines)
