"""Costs in credits, for people: what a chat, an image or a batch costs with a given model.

The gateway itself goes by `Price.cost` and `Price.bound`; this is the same arithmetic behind the questions
that a product asks: the cost of a message by its tokens, of an image by quality and size, of a batch by its
items.

    book = PriceBook.parse(yaml_data, credit_usd=Decimal("0.01"))
    calculator = CostCalculator.of(book, "openai", "openai", "gpt-6-luna", at=1_795_000_000)
    calculator.chat_message(input_tokens=1_200, output_tokens=300)     # microcredits
"""

from __future__ import annotations

from dataclasses import dataclass

from pricing.book import PriceBook
from pricing.errors import UnpricedTier, UnpricedUnit
from pricing.money import Exchange
from pricing.price import Price
from pricing.tiers import BATCH
from pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class CostCalculator:
    """Costs of one model at the prices of one instant. All results are integer microcredits, markup
    included."""

    price: Price
    exchange: Exchange

    @classmethod
    def of(cls, book: PriceBook, provider: str, kind: str, model: str, at: int) -> CostCalculator:
        """For a model at an instant (epoch seconds). Raises `UnpricedModel`."""
        return cls(book.price(provider, kind, model, at), book.exchange)

    def usage(self, usage: Usage, tier: str | None = None) -> int:
        """Any usage. Raises `UnpricedUnit`, `UnpricedTier` rather than leave something out."""
        cost = self.price.cost(usage, tier)
        if cost.unknown_tier:
            raise UnpricedTier(self.price.provider, self.price.model, str(tier))
        if cost.unpriced:
            raise UnpricedUnit(self.price.provider, self.price.model, cost.unpriced[0])
        return self.exchange.microcredits(cost.total_femtousd)

    def chat_message(
        self,
        input_tokens: int,
        output_tokens: int = 0,
        *,
        cached_input_tokens: int = 0,
        tier: str | None = None,
    ) -> int:
        """One exchange of a chat. ``input_tokens`` includes ``cached_input_tokens``."""
        plain = Usage(
            input=input_tokens - cached_input_tokens, cache_read=cached_input_tokens, output=output_tokens
        )
        return self.usage(plain, tier)

    def image_generation(self, quality: str, size: str, count: int = 1) -> int:
        """Images by quality ("hd", "low"; "auto": the dearest) and size ("1024x1024").

        For models that bill images by the token it is the most that such an image costs, prompt aside.
        """
        images = Usage(images=((f"{quality} {size}", count),))
        return self.exchange.microcredits(self.price.bound(0, extra=images).total_femtousd)

    def batch_operation(self, items: int, input_tokens_each: int = 0, output_tokens_each: int = 0) -> int:
        """A batch of equal items at the batch price. Each is priced alone, as the provider does: a
        long-context
        price applies to an item, not to their sum. Raises `UnpricedTier` if the model has no batch price."""
        cost = self.price.cost(Usage(input=input_tokens_each, output=output_tokens_each), BATCH)
        if cost.unknown_tier:
            raise UnpricedTier(self.price.provider, self.price.model, BATCH)
        if cost.unpriced:
            raise UnpricedUnit(self.price.provider, self.price.model, cost.unpriced[0])
        return self.exchange.microcredits(items * cost.total_femtousd)
