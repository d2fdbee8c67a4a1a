"""Whose address a call is counted under."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.api.peer import address_of

PROXIES = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


class Transport:
    """Of a connection from ``peer``."""

    def __init__(self, peer: str) -> None:
        self.peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self.peer, 1234) if name == "peername" else default


def request(peer: str, *forwarded: str) -> web.BaseRequest:
    headers = [("x-forwarded-for", one) for one in forwarded]
    return make_mocked_request("GET", "/", headers=headers, transport=Transport(peer))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("10.1.2.3", ("198.51.100.7, 203.0.113.9",), "203.0.113.9"),
        ("10.1.2.3", ("198.51.100.7", "203.0.113.9, 10.9.9.9"), "203.0.113.9"),
        ("10.1.2.3", ("203.0.113.9, nonsense",), "10.1.2.3"),
        ("10.1.2.3", ("10.0.0.1, 10.0.0.2",), "10.0.0.1"),
        ("fd00::1", ("2001:db8::5",), "2001:db8::5"),
        ("203.0.113.9", ("127.0.0.1",), "203.0.113.9"),
    ],
)
def test_only_what_proxies_of_our_own_wrote_is_believed(
    peer: str, forwarded: tuple[str, ...], address: str
) -> None:
    assert address_of(request(peer, *forwarded), PROXIES) == address


def test_without_proxies_nobody_is_believed() -> None:
    assert address_of(request("127.0.0.1", "203.0.113.9"), ()) == "127.0.0.1"
