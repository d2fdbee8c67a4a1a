"""Which addresses a webhook may be sent to: those of the public internet.

An endpoint's address is chosen by a customer, and the gateway stands inside somebody's network: without this, a
webhook could reach cloud metadata, databases, or the gateway itself. The name is resolved here, every address that it
has is checked, and the connection is made to the very address that was checked: a name that answers differently a
moment later (DNS rebinding) gains nothing. Each socket is checked once more before it is opened, as a host that the
HTTP client takes for an address is never resolved at all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from yarl import URL

from gateway.errors import BadRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host name. Raises OSError."""

# Whose last 32 bits are the IPv4 address that is reached: NAT64 (RFC 6052), and IPv4-translated (RFC 2765).
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::ffff:0:0:0/96"))
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
# Reserved, but not by the properties that the ipaddress module knows on every Python.
_REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
                 "168.63.129.16/32", "fec0::/10", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16")
)  # fmt: skip
URL_CHARS_MAX = 2000


class AddressRefused(OSError):
    """The address is not one of the public internet; `webhooks.allow_private` permits others."""


def is_public(address: Address) -> bool:
    """Whether ``address`` is on the public internet, also by what it carries inside: mapped, translated, NAT64, 6to4,
    Teredo.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
        if address in _NAT64_LOCAL:
            return False
    return address.is_global and not address.is_multicast and not any(address in net for net in _REFUSED)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in net for net in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if int(address) >> 32 == 0 and int(address) > 1:  # IPv4-compatible, long deprecated
        return ipaddress.IPv4Address(int(address))
    return None


def check_url(url: str, *, allow_private: bool) -> str:
    """``url`` if a webhook may have it. Raises `BadRequest` saying what is wrong. Names are only resolved later."""
    problem = _problem(url, allow_private)
    if problem is not None:
        raise BadRequest(f"url: {problem}", param="url")
    return url


def _problem(url: str, allow_private: bool) -> str | None:
    if len(url) > URL_CHARS_MAX or not url.isprintable() or " " in url:
        return f"must be at most {URL_CHARS_MAX} characters, without blanks"
    try:
        parts = urlsplit(url)
        # The host as the HTTP client reads it: full-width digits, say, become those of an address.
        host, _port = URL(url).raw_host, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not host:
        return "must look like https://host/path"
    if parts.scheme == "http" and not allow_private:
        return "must begin with https://"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or password; the signature of each message proves where it is from"
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    if not allow_private and not is_public(literal):
        return "is not an address of the public internet"
    return None


def open_public(target: AddrInfoType) -> socket.socket:
    """For aiohttp's connector: a socket to ``target``. Raises `AddressRefused` before anything is connected."""
    try:
        address = ipaddress.ip_address(str(target[4][0]).partition("%")[0])
    except ValueError as error:
        raise AddressRefused from error
    if not is_public(address):
        raise AddressRefused
    return socket.socket(target[0], target[1], target[2])


async def _system_lookup(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class GuardedResolver(AbstractResolver):
    """For aiohttp's connector: hands out addresses that were checked, and no name that has any other."""

    def __init__(self, *, allow_private: bool, lookup: Lookup = _system_lookup) -> None:
        self._allow_private = allow_private
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        for text in addresses:
            if not self._allow_private and not is_public(ipaddress.ip_address(text.partition("%")[0])):
                raise AddressRefused
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in text else socket.AF_INET,
            )
            for text in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""
