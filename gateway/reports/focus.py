"""Usage as FOCUS 1.2 cost data (https://focus.finops.org/focus-specification/v1-2/): one charge per local day and SKU.

Prices are in credits, a virtual currency with a fixed worth in USD; what is billed is that worth, exactly: a charge's
``BilledCost`` is its ``PricingQuantity`` of credits times the ``ListUnitPrice`` of one.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Context, Decimal

import orjson

from gateway.reports.cells import Cell
from gateway.reports.exports import credits
from gateway.reports.period import OrgCalendar, next_month
from gateway.reports.question import Group

ISSUER = "Tollgate"
CREDIT = Decimal(1)
"""What a credit costs in the pricing currency, which is credits."""
_EXACT = Context(prec=80)
_SUBCATEGORIES = {
    "chat": "Generative AI",
    "image": "Generative AI",
    "audio": "Generative AI",
    "batch": "Generative AI",
}

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingCurrency", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SubAccountId", "SubAccountName",
    "Tags", "x_Credits", "x_KeyId", "x_Model", "x_Operation", "x_Requests", "x_InputTokens", "x_CachedInputTokens",
    "x_CacheWriteTokens", "x_OutputTokens", "x_ReasoningTokens", "x_UserId",
)  # fmt: skip


def cost_usd(microcredits: int, credit_usd: Decimal) -> Decimal:
    """What credits are worth, exactly."""
    return _EXACT.multiply(credits(microcredits), credit_usd)


def charge(org: str, group: Group, calendar: OrgCalendar, credit_usd: Decimal) -> list[Cell]:
    day = date.fromisoformat(group.step)
    team, user, key, provider, model, operation = group.names
    sums = group.sums
    cost = cost_usd(sums.credits_microcredits, credit_usd)
    quantity = credits(sums.credits_microcredits)
    tokens = sums.input_tokens + sums.output_tokens
    month = day.replace(day=1)
    start, end = _edges(calendar, day, day + timedelta(days=1))
    month_start, month_end = _edges(calendar, month, next_month(month))
    return [
        *(cost, org, org, "Organization", "USD", month_end, month_start, "Usage", None),
        *(
            f"{operation} {f'with {model}' if model else 'without a model'} of {provider}",
            "Usage-Based",
            end,
            start,
        ),
        *((tokens, "Tokens") if tokens else (sums.requests, "Requests")),
        *(cost, credit_usd, cost, ISSUER, cost, credit_usd, "Standard"),
        *("Credits", CREDIT, quantity, CREDIT, quantity, "Credits"),
        *(provider, provider, "AI and Machine Learning", f"{provider} {operation}"),
        *(
            _SUBCATEGORIES.get(operation or "", "Other (AI and Machine Learning)"),
            "/".join(name for name in (provider, model, operation) if name),
        ),
        *(
            operation,
            team,
            team,
            orjson.dumps({"team": team} if team else {}).decode(),
            quantity,
            key,
            model,
            operation,
        ),
        *(
            sums.requests,
            sums.input_tokens,
            sums.cached_input_tokens,
            sums.cache_write_tokens,
            sums.output_tokens,
        ),
        *(sums.reasoning_tokens, user),
    ]


def _edges(calendar: OrgCalendar, first: date, after: date) -> tuple[datetime, datetime]:
    return calendar.start_of(first), calendar.start_of(after)
