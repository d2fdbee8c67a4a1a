"""/api/alerts/settings and beside it: when people are told, who, and where."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from gateway.alerts.kind import AlertKind
from gateway.alerts.org_settings import OrgAlertChoices
from gateway.alerts.postgres_choices import Address, AlertChoices, Subscription
from gateway.api.amount import Amount
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, Strict
from gateway.errors import BadRequest, NotAllowed
from gateway.identity.profile import Profile, check
from gateway.identity.roles import Action, named_org
from gateway.settings.limits import AlertLevels, Id, Microcredits, parse_microcredits

AnyKind = AlertKind | Literal["*"]


class SettingsBody(Strict):
    """All of it: what is left out goes back to its default."""

    levels: Annotated[
        AlertLevels | None,
        Field(
            description="Percent of a limit, for limits with no levels of their own. Default: the gateway's."
        ),
    ] = None
    low_balance_credits: Annotated[
        Microcredits | None, Field(description="A balance at or below this is told. Default: never.")
    ] = None
    low_balance: Annotated[
        Amount | None, Field(description="The same as `GET` gives it, so that it can be put back.")
    ] = None
    email: Annotated[bool, Field(description="Owners and billing are told by e-mail.")] = True
    sms: Annotated[bool, Field(description="Owners and billing are told by text message.")] = False
    daily_summary: bool = True
    monthly_statement: bool = True
    spend_anomaly: bool = True
    summary_hour: Annotated[
        int | None, Field(ge=0, le=23, description="In your time zone. Default: the gateway's.")
    ] = None

    @model_validator(mode="after")
    def _said_once(self) -> SettingsBody:
        if self.low_balance is not None:
            said = parse_microcredits(self.low_balance.credits)
            if said != self.low_balance.microcredits or self.low_balance_credits not in (None, said):
                raise ValueError("low_balance: says two amounts; to change it send low_balance_credits alone")
        return self

    @property
    def low_balance_microcredits(self) -> int | None:
        return self.low_balance_credits if self.low_balance is None else self.low_balance.microcredits


class SettingsView(BaseModel):
    levels: list[int] | None
    low_balance: Amount | None
    email: bool
    sms: bool
    daily_summary: bool
    monthly_statement: bool
    spend_anomaly: bool
    summary_hour: int | None

    @classmethod
    def of(cls, choices: OrgAlertChoices) -> SettingsView:
        return cls(
            levels=None if choices.levels is None else list(choices.levels),
            low_balance=None if choices.low_balance is None else Amount.of(choices.low_balance),
            email=choices.email,
            sms=choices.sms,
            daily_summary=choices.daily_summary,
            monthly_statement=choices.monthly_statement,
            spend_anomaly=choices.spend_anomaly,
            summary_hour=choices.summary_hour,
        )


class SubscriptionBody(Strict):
    user_id: Id
    kind: Annotated[AnyKind, Field(description="`*`: every kind that is not named.")]
    email: bool
    sms: bool = False


class SubscriptionView(SubscriptionBody):
    """As it is stored."""


class SubscriptionParams(OrgParams):
    user_id: Id
    kind: AnyKind


class SubscriptionList(BaseModel):
    items: list[SubscriptionView]
    next_cursor: None = None


class AddressBody(Strict):
    channel: Literal["email", "sms"]
    address: Annotated[str, Field(max_length=254, description="A mailbox, or a number like +33612345678.")]
    kinds: Annotated[
        tuple[AlertKind, ...] | None, Field(max_length=50, description="Default: every kind.")
    ] = None


class AddressView(BaseModel):
    id: str
    channel: Literal["email", "sms"]
    address: str
    kinds: list[str] | None
    created_at: datetime

    @classmethod
    def of(cls, address: Address) -> AddressView:
        return cls(
            id=address.address_id,
            channel=address.channel,
            address=address.address,
            kinds=None if address.kinds is None else list(address.kinds),
            created_at=address.created_at,
        )


class AddressList(BaseModel):
    items: list[AddressView]
    next_cursor: None = None


class AddressParams(OrgParams):
    id: Annotated[str, Field(min_length=1, max_length=100)]


class _Handlers:
    def __init__(self, choices: AlertChoices) -> None:
        self._choices = choices

    async def get(self, call: Call[OrgParams, NoBody]) -> SettingsView:
        return SettingsView.of(await self._choices.get(named_org(call.reach)))

    async def set(self, call: Call[OrgParams, SettingsBody]) -> SettingsView:
        body = call.body
        choices = OrgAlertChoices(
            levels=body.levels,
            low_balance=body.low_balance_microcredits,
            **body.model_dump(exclude={"levels", "low_balance", "low_balance_credits"}),
        )
        await self._choices.set(named_org(call.reach), choices, actor=call.principal.actor)
        return SettingsView.of(choices)

    async def subscriptions(self, call: Call[OrgParams, NoBody]) -> SubscriptionList:
        found = await self._choices.subscriptions(named_org(call.reach), _whose(call))
        return SubscriptionList(
            items=[
                SubscriptionView(
                    user_id=one.user_id,
                    kind="*" if one.kind == "*" else AlertKind(one.kind),
                    email=one.email,
                    sms=one.sms,
                )
                for one in found
            ]
        )

    async def subscribe(self, call: Call[OrgParams, SubscriptionBody]) -> SubscriptionView:
        body = call.body
        _check_theirs(call, body.user_id)
        own = body.user_id == call.principal.user_id
        wanted = Subscription(body.user_id, str(body.kind), body.email, body.sms, own)
        await self._choices.subscribe(named_org(call.reach), wanted, actor=call.principal.actor)
        return SubscriptionView(**body.model_dump())

    async def unsubscribe(self, call: Call[SubscriptionParams, NoBody]) -> None:
        params = call.params
        _check_theirs(call, params.user_id)
        await self._choices.unsubscribe(
            named_org(call.reach), params.user_id, str(params.kind), actor=call.principal.actor
        )

    async def addresses(self, call: Call[OrgParams, NoBody]) -> AddressList:
        found = await self._choices.addresses(named_org(call.reach), _whose(call))
        return AddressList(items=[AddressView.of(one) for one in found])

    async def add_address(self, call: Call[OrgParams, AddressBody]) -> AddressView:
        body = call.body
        is_mail = body.channel == "email"
        try:
            checked = check(Profile(email=body.address) if is_mail else Profile(phone=body.address))
        except BadRequest as error:  # which names the field of a profile
            raise BadRequest(
                f"address{error.message[error.message.index(':') :]}", param="address"
            ) from error
        address = checked.email if is_mail else checked.phone
        if address is None:
            raise BadRequest("address: must not be empty", param="address")
        kinds = None if body.kinds is None else tuple(kind.value for kind in body.kinds)
        added = await self._choices.add_address(
            named_org(call.reach), body.channel, address, kinds, actor=call.principal.actor, user=_whose(call)
        )
        return AddressView.of(added)

    async def remove_address(self, call: Call[AddressParams, NoBody]) -> None:
        await self._choices.remove_address(
            named_org(call.reach), call.params.id, actor=call.principal.actor, user=_whose(call)
        )


def _whose(call: Call[Any, Any]) -> str | None:
    """None: the organisation's. Raises `NotAllowed` for keys of nobody, who are told nothing."""
    if call.reach.whole:
        return None
    if call.principal.user_id is None:
        raise NotAllowed("This key belongs to nobody, and nobody is told of alerts on its behalf.")
    return call.principal.user_id


def _check_theirs(call: Call[Any, Any], user: str) -> None:
    """Raises `NotAllowed`."""
    if _whose(call) not in (None, user):
        raise NotAllowed("You may only choose for yourself.", param="user_id")


def alert_setting_operations(choices: AlertChoices) -> list[AnyOperation]:
    handlers = _Handlers(choices)
    return [*_settings(handlers), *_subscriptions(handlers), *_addresses(handlers)]


def _settings(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="GET",
            path="/api/alerts/settings",
            name="get_alert_settings",
            tag="Alerts",
            summary="When and how the organisation is told",
            action=Action.SET_ALERTS,
            handler=handlers.get,
            params=OrgParams,
            reply=SettingsView,
        ),
        Operation(
            method="PUT",
            path="/api/alerts/settings",
            name="set_alert_settings",
            tag="Alerts",
            summary="Say when and how the organisation is told",
            action=Action.SET_ALERTS,
            handler=handlers.set,
            params=OrgParams,
            body=SettingsBody,
            reply=SettingsView,
            description="What limits.yaml says of levels and of a low balance holds over what is set here.",
            example={"levels": [50, 80, 100], "low_balance_credits": "500"},
        ),
    ]


def _subscriptions(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="GET",
            path="/api/alerts/subscriptions",
            name="list_alert_subscriptions",
            tag="Alerts",
            summary="What people want to be told, beside what their role brings",
            description="Of everybody, for owners and billing; leads and members see and change their own.",
            action=Action.SET_OWN_ALERTS,
            handler=handlers.subscriptions,
            params=OrgParams,
            reply=SubscriptionList,
        ),
        Operation(
            method="PUT",
            path="/api/alerts/subscriptions",
            name="set_alert_subscription",
            tag="Alerts",
            summary="Have somebody told of a kind of alert, or not",
            description="What people choose for themselves tells them no more than they may see.",
            action=Action.SET_OWN_ALERTS,
            handler=handlers.subscribe,
            params=OrgParams,
            body=SubscriptionBody,
            reply=SubscriptionView,
            example={"user_id": "ada", "kind": "budget_threshold", "email": True, "sms": False},
        ),
        Operation(
            method="DELETE",
            path="/api/alerts/subscriptions",
            name="remove_alert_subscription",
            tag="Alerts",
            summary="Back to what the role of somebody brings",
            action=Action.SET_OWN_ALERTS,
            handler=handlers.unsubscribe,
            params=SubscriptionParams,
            errors=(404,),
        ),
    ]


def _addresses(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="GET",
            path="/api/alerts/addresses",
            name="list_alert_addresses",
            tag="Alerts",
            summary="More mailboxes and telephones that are told",
            description="For owners and billing those of the organisation, which are told everything; for leads and "
            "members their own, which are told what they may see.",
            action=Action.SET_OWN_ALERTS,
            handler=handlers.addresses,
            params=OrgParams,
            reply=AddressList,
        ),
        Operation(
            method="POST",
            path="/api/alerts/addresses",
            name="add_alert_address",
            tag="Alerts",
            summary="Have a mailbox or a telephone told",
            action=Action.SET_OWN_ALERTS,
            handler=handlers.add_address,
            params=OrgParams,
            body=AddressBody,
            reply=AddressView,
            status=201,
            errors=(409, 501),
            example={"channel": "email", "address": "finance@example.com"},
        ),
        Operation(
            method="DELETE",
            path="/api/alerts/addresses/{id}",
            name="remove_alert_address",
            tag="Alerts",
            summary="Tell an address nothing more",
            action=Action.SET_OWN_ALERTS,
            handler=handlers.remove_address,
            params=AddressParams,
            errors=(404,),
        ),
    ]
