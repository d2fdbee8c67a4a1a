"""Webhooks reach the public internet and nothing else, whatever their address is written like or resolves to."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from gateway.alerts.guard import AddressRefused, GuardedResolver, check_url, is_public, open_public
from gateway.errors import BadRequest

PRIVATE = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.0.2.1", "198.51.100.1", "203.0.113.1",
    "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:0:7f00:1::",
    "::ffff:0:169.254.169.254", "::ffff:0:7f00:1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4007:80e::200e",
          "::ffff:8.8.8.8", "64:ff9b::808:808", "::ffff:0:808:808"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_is_none_of_the_public_internet(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_outside_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/hook",
        "https:///hook",
        "https://",
        "example.com/hook",
        "https://user:secret@example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "https://10.1.2.3:8443/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://169\u3002254\u3002169\u3002254/",
        "https://\u2460\u2461\u2466.0.0.1/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://example.com/" + "x" * 2000,
    ],
)
def test_an_endpoint_that_cannot_be_meant_is_refused_when_it_is_added(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_url(url, allow_private=False)
    assert caught.value.param == "url"


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?x=1", "https://8.8.8.8/", "https://[2606:4700:4700::1111]/"]
)
def test_an_endpoint_outside_is_taken(url: str) -> None:
    assert check_url(url, allow_private=False) == url


def test_where_private_addresses_are_allowed_so_is_plain_http() -> None:
    assert check_url("http://127.0.0.1:9000/hook", allow_private=True)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["fe80::1%eth0"], ["::ffff:192.168.0.1"]]
)
async def test_a_name_that_has_any_address_inside_is_not_connected_to(addresses: list[str]) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return addresses

    with pytest.raises(AddressRefused):
        await GuardedResolver(allow_private=False, lookup=lookup).resolve("rebound.example", 443)


async def test_the_connection_is_made_to_the_address_that_was_checked() -> None:
    """A name that answers otherwise a moment later gains nothing: it is asked once."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def lookup(host: str, port: int) -> list[str]:
        return answers.pop(0)

    found = await GuardedResolver(allow_private=False, lookup=lookup).resolve("rebound.example", 443)
    assert [(one["host"], one["hostname"], one["port"]) for one in found] == [
        ("8.8.8.8", "rebound.example", 443)
    ]
    assert len(answers) == 1


@pytest.mark.parametrize("host", ["localhost", "0x7f000001", "2130706433", "127.1"])
async def test_other_spellings_of_this_machine_resolve_to_it_and_are_refused(host: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - what the system cannot resolve is refused as well
        await GuardedResolver(allow_private=False).resolve(host, 443)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "127.1", "::1", "::ffff:10.0.0.1", "fe80::1%eth0"]
)
def test_no_socket_is_opened_to_an_address_inside_however_it_came_there(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with pytest.raises(AddressRefused):
        open_public((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 443)))
    with open_public(
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("8.8.8.8", 443))
    ) as opened:
        assert opened.family is socket.AF_INET
