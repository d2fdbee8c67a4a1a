"""Where a call came from, also behind proxies of one's own.

``X-Forwarded-For`` is believed only as far as proxies that are named in the configuration wrote it: each adds the
address that it was called from on the right, so the first one from the right that is no proxy is the caller's. What
stands left of that, anybody can have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

Network = IPv4Network | IPv6Network


def address_of(request: web.BaseRequest, proxies: Sequence[Network]) -> str:
    """An IP address, or ``unknown`` (a connection over a socket file has none)."""
    peer = request.remote or "unknown"
    if not proxies:
        return peer
    forwarded = ",".join(request.headers.getall("x-forwarded-for", [])).split(",")
    for hop in reversed(forwarded):
        if not _is_proxy(peer, proxies) or not _is_address(hop.strip()):
            break
        peer = hop.strip()
    return peer


def counted_as(address: str) -> str:
    """By what calls from ``address`` are counted: an IPv6 network of 64 bits is one subscriber's, RFC 6177."""
    if ":" not in address or not _is_address(address):
        return address
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), 64), strict=False))


def _is_proxy(text: str, proxies: Sequence[Network]) -> bool:
    if not _is_address(text):
        return False
    address = ip_address(text)
    return any(address in network for network in proxies)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
