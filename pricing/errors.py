"""Why something could not be priced. None of these is ever turned into a price of zero."""

from __future__ import annotations


class PricingError(Exception):
    """Root of everything that goes wrong in pricing."""


class UnpricedModel(PricingError):
    """There is no price for this model."""

    def __init__(self, provider: str, model: str, message: str | None = None) -> None:
        self.provider = provider
        self.model = model
        super().__init__(message or f"There is no price for model {model!r} of provider {provider!r}.")


class UnpricedUnit(UnpricedModel):
    """The model has a price, but not for everything that this request may use."""

    def __init__(self, provider: str, model: str, unit: str) -> None:
        self.unit = unit
        super().__init__(
            provider, model, f"Model {model!r} of provider {provider!r} has no price for {unit!r}."
        )


class UnpricedTier(PricingError):
    """The model has no price at the service tier that was asked for."""

    def __init__(self, provider: str, model: str, tier: str) -> None:
        self.provider = provider
        self.model = model
        self.tier = tier
        super().__init__(f"Model {model!r} of provider {provider!r} has no price at service tier {tier!r}.")


class BadPricing(PricingError, ValueError):
    """A price, an amount or a pricing file is not valid. The message says where and why."""
