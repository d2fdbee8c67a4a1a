"""pricing.yaml is taken whole or refused with the path of what is wrong in it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from pricing.errors import BadPricing
from pricing.file import PricingFile
from tests.unit.pricing.conftest import NOW_S, Books

EXAMPLE = Path(__file__).parents[3] / "config" / "pricing.yaml"


def refusal(text: str) -> str:
    with pytest.raises(BadPricing) as caught:
        PricingFile.parse(yaml.safe_load(text))
    assert "\n" not in str(caught.value), "one mistake, one line"
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mark: 1", "pricing.yaml: mark: unknown setting"),
        ("markup: .nan", "pricing.yaml: markup: must be a plain finite number"),
        ("markup: 0", "pricing.yaml: markup: must be greater than 0"),
        ("unpriced: free", "pricing.yaml: unpriced: Input should be 'refuse'"),
        ("unpriced: {ceiling_usd: 0}", "pricing.yaml: unpriced.ceiling_usd: Input should be greater than 0"),
        ("models: [{provider: a}]", "pricing.yaml: models[0].model: is required"),
        ("models: [{provider: a, model: b}, {provider: A, model: B}]", "models[1] repeats models[0]: A/B"),
        ("models: {a: b}", "pricing.yaml: models: "),
        ("aliases: {a: 1}", "pricing.yaml: aliases.a: "),
        ("aliases: {a: b, b: c}", "alias 'a' points to 'b', which is an alias itself"),
        ("aliases: {a: a}", "alias 'a' points to 'a'"),
        ("aliases: {'a*': b}", "wildcards do not work here"),
        ("[1]", "pricing.yaml: must be a mapping, got list"),
    ],
)
def test_a_mistake_is_named_with_its_path_and_reason(text: str, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("usd_per_mtok: {input: -1}", ".usd_per_mtok.input: must not be negative, got -1"),
        ("usd_per_mtok: {input: .inf}", ".usd_per_mtok.input: must be a plain finite number"),
        ("usd_per_mtok: {input: true}", ".usd_per_mtok.input: must be a number"),
        ("usd_per_mtok: {input: 2000000}", ".usd_per_mtok.input: must be at most"),
        ("usd_per_mtok: {inputs: 1}", ".usd_per_mtok.inputs: unknown kind of token 'inputs'"),
        ("usd_per_mtok: {}", ".usd_per_mtok: "),
        ("form: 2026-01-01", ".form: unknown setting"),
        ("from: soon", ".from: must be a date such as 2026-01-31, got 'soon'"),
        ("from: 20260101", ".from: must be a date such as 2026-01-31, got 20260101"),
        ("service_tiers: {flex: cheap}", ".service_tiers.flex: must be a plain finite number"),
        ("service_tiers: {flex: 0}", ".service_tiers.flex: must be greater than 0"),
        ("service_tiers: {auto: 2}", ".service_tiers: service tier 'auto' is the standard one"),
        ("service_tiers: {flex: {usd_per_mtok: {input: x}}}", ".service_tiers.flex.usd_per_mtok.input: "),
        ("tiers: [{above: 1, usd_per_mtok: {input: 1}}]", ".tiers: tiers need usd_per_mtok"),
        (
            "usd_per_mtok: {input: 1}, tiers: [{above: 2, usd_per_mtok: {output: 1}}]",
            ".tiers: tier above 2 prices output, the entry itself does not",
        ),
        (
            "usd_per_mtok: {input: 1}, "
            "tiers: [{above: 2, usd_per_mtok: {input: 1}}, {above: 2, usd_per_mtok: {input: 1}}]",
            ".tiers: tiers must ascend",
        ),
        ("usd_per: {image-hd: 1}", ".usd_per.image-hd: unknown unit 'image-hd'"),
        ("usd_per: {audio_minute: 1, audio_hour: 60}", ".usd_per: usd_per names the same thing in two units"),
        ("max_output_tokens: 1.5", ".max_output_tokens: "),
        ("max_output_tokens: 0", ".max_output_tokens: "),
    ],
)
def test_a_mistake_in_an_entry_is_named_with_its_path_and_reason(setting: str, message: str) -> None:
    assert f"pricing.yaml: models[0]{message}" in refusal(f"models: [{{provider: a, model: b, {setting}}}]")


def test_a_date_and_the_same_instant_are_one() -> None:
    same = [
        {"provider": "a", "model": "b", "from": start} for start in ("2026-01-01", "2026-01-01T00:00:00Z")
    ]
    with pytest.raises(BadPricing, match="repeats"):
        PricingFile.parse({"models": same})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadPricing) as caught:
        PricingFile.parse({"markup": -1, "models": [{"provider": "a"}]}, "prices.yaml")
    assert [line.split(" ")[1] for line in str(caught.value).splitlines()] == ["markup:", "models[0].model:"]


def test_an_empty_file_changes_nothing() -> None:
    assert PricingFile.parse(None) == PricingFile.parse({}) == PricingFile()
    assert PricingFile().markup == Decimal(1)


def test_the_example_loads_and_prices_what_it_shows(books: Books) -> None:
    book = books(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))
    for provider, kind, model in [
        ("sim", "openai", "sim-chat"),
        ("anthropic", "anthropic", "sim-claude"),
        ("gemini", "gemini", "models/sim-gemini"),
        ("openai", "openai", "dall-e-3"),
        ("openai", "openai", "gpt-image-1"),
        ("openai", "openai", "house-model"),
        ("azure", "azure", "chat-prod"),
        ("ollama", "ollama", "llama3"),
    ]:
        assert book.price(provider, kind, model, NOW_S).ref
