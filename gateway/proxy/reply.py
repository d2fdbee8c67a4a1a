"""Giving a provider's reply to the client: JSON whole, with its charge in the headers; everything else as it comes.

The charge is settled before the end of a reply is sent, so that a client that asks again finds its budget as the
last call left it.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from gateway.errors import StoreUnavailable, TollgateError, UpstreamError
from gateway.metering.conclusion import Ending
from gateway.proxy import whole_reply
from gateway.proxy.afterlife import Afterlife
from gateway.proxy.downstream import ClientStream
from gateway.proxy.exchange import End, Exchange
from gateway.proxy.flight import ENDINGS, Charge, Flight
from gateway.proxy.header_names import ByName
from gateway.proxy.intake import HOP_BY_HOP
from gateway.proxy.refusal import REQUEST_ID
from gateway.proxy.upstream import UpstreamBroke, asked_for
from gateway.proxy.whole_reply import Header, WholeReply
from gateway.settings.config import ServerSettings
from pricing.money import format_credits

SHOWN_BYTES_MAX = 8 * 1024 * 1024
"""JSON replies up to this size are held until they are whole, so that their headers can say what they cost."""

HOLD_LOST = "The budget store lost track of this call, so it was ended."

OURS = frozenset(
    b"x-tollgate-" + name
    for name in (b"request-id", b"remaining", b"output-cap", b"grace", b"credits", b"usage-source")
)
_PASSES = ByName(lambda name: name not in HOP_BY_HOP and name not in OURS and name != b"content-length")


class Replies:
    """Sends replies and settles their flights."""

    def __init__(
        self, settings: ServerSettings, afterlife: Afterlife, settled: Callable[[Flight, Charge], None]
    ) -> None:
        """``settled`` hears of every charge that is made here, also of those of calls that end in an error."""
        self._settings = settings
        self._afterlife = afterlife
        self._told = settled

    async def send(self, request: web.BaseRequest, flight: Flight) -> web.StreamResponse:
        """Relay the reply of ``flight`` and settle it, later if it cannot be settled yet.

        Raises the `UpstreamError` of a provider that gave no reply, `StoreUnavailable` when the call was ended because
        its hold was lost, and why it was stopped else; the flight is settled then as well.
        """
        exchange = flight.exchange
        try:
            await exchange.head()
        except UpstreamError as error:
            await self._settled(flight, _ending(exchange))
            if exchange.end is End.STOPPED:
                raise _stopped(exchange) from error
            raise
        headers = [*_passed_on(exchange), *_own(flight)]
        if _is_json(exchange.header(b"content-type")) and (
            not flight.call.streamed or exchange.status >= 400
        ):
            body = await exchange.gathered(SHOWN_BYTES_MAX)
            if body is not None:
                return await self._whole(request, flight, headers, body)
        return await self._streamed(request, flight, headers)

    async def _whole(
        self, request: web.BaseRequest, flight: Flight, headers: list[Header], body: bytes
    ) -> web.StreamResponse:
        exchange = flight.exchange
        charge = await self._settled(flight, _ending(exchange))
        if exchange.end is End.STOPPED:
            raise _stopped(exchange)
        if exchange.end is not End.COMPLETE:
            raise exchange.error or UpstreamBroke()
        remaining = flight.hold.grant.remaining
        if charge is not None and charge.stands:
            headers += _charged(charge)
            remaining = remaining if charge.remaining is None else charge.remaining
        headers += _remaining(remaining)
        if whole_reply.takes(request, exchange.status):
            return WholeReply(exchange.status, headers, body, dated=_dated(exchange, headers))
        return web.Response(status=exchange.status, headers=_as_aiohttp_has_them(headers), body=body)

    async def _streamed(
        self, request: web.BaseRequest, flight: Flight, headers: list[Header]
    ) -> web.StreamResponse:
        exchange = flight.exchange
        exchange.filter = (
            flight.provider.dialect.usage_filter(flight.call)
            if exchange.status == 200 and not exchange.decoder_failed
            else None
        )
        if exchange.filter is not None and exchange.decoded:
            headers = [header for header in headers if header[0].lower() != b"content-encoding"]
        headers += _remaining(flight.hold.grant.remaining)
        response = web.StreamResponse(status=exchange.status, headers=_as_aiohttp_has_them(headers))
        length = None if exchange.filter is not None else _length(exchange.header(b"content-length"))
        if length is not None:
            response.content_length = length
        elif request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        else:
            response.force_close()
        client = await ClientStream.start(request, response, self._settings.client_stall_timeout_s)
        await exchange.relay(client, length)
        await self._settled(flight, _ending(exchange))
        if exchange.end is not End.COMPLETE:
            client.abort()
        elif exchange.last:
            client.write(exchange.last)
        return response

    async def _settled(self, flight: Flight, ending: Ending) -> Charge | None:
        try:
            charge = await flight.settle(ending)
        except StoreUnavailable:
            flight.hold.hand_over()
            self._afterlife.settle_later(flight, ending)
            return None
        self._told(flight, charge)
        return charge


def _stopped(exchange: Exchange) -> TollgateError:
    return exchange.stopped_for or StoreUnavailable(HOLD_LOST)


def _passed_on(exchange: Exchange) -> list[Header]:
    """The provider's headers for the client."""
    passed = [header for header in exchange.headers if _PASSES[header[0]]]
    if exchange.header(b"connection") is None:
        return passed
    named = {
        part.strip().lower()
        for name, value in exchange.headers
        if name.lower() == b"connection"
        for part in value.split(b",")
    }
    return [header for header in passed if header[0].lower() not in named]


def _dated(exchange: Exchange, headers: list[Header]) -> bool:
    """Whether there is a date among ``headers``, those that are passed on."""
    if exchange.header(b"connection") is None:
        return exchange.header(b"date") is not None
    return b"date" in asked_for(headers)


def _own(flight: Flight) -> list[Header]:
    """What we say of a call, whatever it will have cost."""
    own = [(REQUEST_ID.encode(), flight.request_id.encode())]
    if flight.cap is not None:
        own.append((b"x-tollgate-output-cap", b"%d" % flight.cap))
    if flight.hold.grant.grace:
        own.append((b"x-tollgate-grace", ", ".join(flight.hold.grant.grace).encode()))
    return own


def _charged(charge: Charge) -> list[Header]:
    return [
        (b"x-tollgate-credits", format_credits(charge.microcredits).encode()),
        (b"x-tollgate-usage-source", charge.source.encode()),
    ]


def _remaining(microcredits: int | None) -> list[Header]:
    if microcredits is None:
        return []
    return [(b"x-tollgate-remaining", format_credits(max(0, microcredits)).encode())]


def _as_aiohttp_has_them(headers: list[Header]) -> CIMultiDict[str]:
    return CIMultiDict([(name.decode("latin-1"), whole_reply.text(value)) for name, value in headers])


def _ending(exchange: Exchange) -> Ending:
    """While the client is there only the gateway itself stops an exchange."""
    return Ending.CUT if exchange.end is End.STOPPED else ENDINGS[exchange.end or End.BROKEN]


def _is_json(content_type: bytes | None) -> bool:
    kind = (content_type or b"").split(b";", 1)[0].strip().lower()
    return kind == b"application/json" or kind.endswith(b"+json")


def _length(content_length: bytes | None) -> int | None:
    return int(content_length) if content_length is not None and content_length.strip().isdigit() else None
