"""Which price applies: exact names, wildcards, providers, dates, aliases; and what has none."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from pricing.book import PriceBook
from pricing.errors import UnpricedModel
from pricing.usage import Usage
from tests.unit.pricing.conftest import NOW_S, Books

MTOK = 10**9


def at(*date: int) -> int:
    return int(dt.datetime(*date, tzinfo=dt.UTC).timestamp())  # type: ignore[arg-type, misc]


def entry(provider: str, model: str, usd: float, **more: Any) -> dict[str, Any]:
    return {"provider": provider, "model": model, "usd_per_mtok": {"input": usd}, **more}


def input_usd(
    book: PriceBook, model: str, at_s: int = NOW_S, provider: str = "openai", kind: str = "openai"
) -> float:
    return book.price(provider, kind, model, at_s).cost(Usage(input=1)).total_femtousd / MTOK


# ------------------------------------------------------------------ precedence


def test_an_exact_name_beats_the_longest_wildcard_beats_the_catalogue(books: Books) -> None:
    book = books(
        {
            "models": [
                entry("openai", "gpt-*", 1),
                entry("openai", "gpt-4o*", 2),
                entry("openai", "gpt-4o-mini", 3),
            ]
        }
    )
    assert input_usd(book, "gpt-4o-mini") == 3
    assert input_usd(book, "gpt-4o-mini-x") == 2
    assert input_usd(book, "gpt-4.1") == 1
    assert input_usd(book, "o3") == 2  # the catalogue's own


def test_a_longer_wildcard_wins_over_a_nearer_provider_and_a_newer_date(books: Books) -> None:
    book = books(
        {"models": [entry("*", "my-model*", 1), entry("openai", "my*", 2, **{"from": "2026-11-01"})]}
    )
    assert input_usd(book, "my-model-1") == 1
    assert input_usd(book, "my-other") == 2


def test_provider_by_name_beats_kind_beats_any(books: Books) -> None:
    models = [entry("*", "m", 1), entry("openai", "m", 2), entry("local", "m", 3)]
    assert input_usd(books({"models": models}), "m", provider="local") == 3
    assert input_usd(books({"models": models[:2]}), "m", provider="local") == 2
    assert input_usd(books({"models": models[:1]}), "m", provider="local") == 1


def test_the_newest_date_that_is_not_in_the_future_wins(books: Books) -> None:
    book = books(
        {
            "models": [
                entry("openai", "m", 2, **{"from": "2026-06-01"}),
                entry("openai", "m", 1),
                entry("openai", "m", 3, **{"from": dt.date(2026, 12, 1)}),
            ]
        }
    )
    assert input_usd(book, "m", at(2026, 5, 31, 23, 59, 59)) == 1
    assert input_usd(book, "m", at(2026, 6, 1)) == 2
    assert input_usd(book, "m", at(2026, 11, 30, 23, 59, 59)) == 2
    assert input_usd(book, "m", at(2026, 12, 1)) == 3
    assert input_usd(book, "m", at(2026, 6, 1)) == 2, "also when asked after a later instant"


def test_each_setting_comes_from_the_most_specific_entry_that_gives_it(books: Books) -> None:
    book = books(
        {
            "models": [
                {"provider": "openai", "model": "gpt-4o", "max_output_tokens": 99},
                {
                    "provider": "openai",
                    "model": "gpt-*",
                    "usd_per": {"web_search": 1},
                    "max_output_tokens": 7,
                    "least_output_tokens": 5,
                },
            ]
        }
    )
    price = book.price("openai", "openai", "gpt-4o", NOW_S)
    assert (price.max_output_tokens, price.least_output_tokens) == (99, 5)
    assert price.cost(Usage(input=1)).total_femtousd == 2.5 * MTOK, "token prices stay the catalogue's"
    assert price.cost(Usage(web_searches=1)).total_femtousd == 10**15


def test_token_prices_replace_all_of_the_catalogues_but_not_its_units(books: Books) -> None:
    book = books({"models": [{"provider": "openai", "model": "gpt-6.1-sol", "usd_per_mtok": {"input": 7}}]})
    price = book.price("openai", "openai", "gpt-6.1-sol", NOW_S)
    assert price.cost(Usage(cache_read=1, input=300_000)).total_femtousd == 300_001 * 7 * MTOK
    assert price.cost(Usage(output=1)).unpriced == ("output",)
    assert price.cost(Usage(input=1), "flex").unknown_tier
    assert price.cost(Usage(web_searches=1)).total_femtousd == 10**13


def test_tiers_of_the_file(books: Books) -> None:
    book = books(
        {
            "models": [
                entry(
                    "*",
                    "m",
                    3,
                    tiers=[
                        {"above": 1000, "usd_per_mtok": {"input": 6}},
                        {"above": 2000, "usd_per_mtok": {"input": 9}},
                    ],
                    service_tiers={"flex": 0.5, "geo:us": 1.1, "batch": {"usd_per_mtok": {"input": 1}}},
                )
            ]
        }
    )
    price = book.price("openai", "openai", "m", NOW_S)
    assert [price.cost(Usage(input=n)).total_femtousd // n // MTOK for n in (1000, 1001, 2000, 2001)] == [
        3,
        6,
        6,
        9,
    ]
    assert price.cost(Usage(input=1), "flex").total_femtousd == 1.5 * MTOK
    assert price.cost(Usage(input=1), "flex+geo:us").total_femtousd == 1.65 * MTOK
    assert price.cost(Usage(input=1), "batch+geo:us").total_femtousd == 1.1 * MTOK
    assert price.cost(Usage(input=5000), "batch").total_femtousd == 5000 * MTOK


def test_a_service_tier_of_the_file_goes_over_the_catalogues(books: Books) -> None:
    book = books(
        {"models": [{"provider": "openai", "model": "gpt-6.1-sol", "service_tiers": {"scale": 1, "flex": 3}}]}
    )
    price = book.price("openai", "openai", "gpt-6.1-sol", NOW_S)
    assert price.cost(Usage(input=1), "scale").total_femtousd == 2 * MTOK
    assert price.cost(Usage(input=1), "flex").total_femtousd == 6 * MTOK
    assert price.cost(Usage(input=1), "priority").total_femtousd == 4 * MTOK
    assert price.cost(Usage(web_searches=1), "flex").total_femtousd == 10**13, "a factor is about tokens"


def test_aliases(books: Books) -> None:
    book = books({"aliases": {"house": "gpt-4o", "azure": {"prod": "gpt-4o-mini", "house": "gpt-4.1"}}})
    assert input_usd(book, "house") == 2.5
    assert input_usd(book, "prod", provider="azure", kind="azure") == 0.15
    assert input_usd(book, "house", provider="azure", kind="azure") == 2
    with pytest.raises(UnpricedModel):
        book.price("openai", "openai", "prod", NOW_S)


# ------------------------------------------------------------------ dates and hours of the catalogue


def test_an_announced_price_starts_at_its_date(bundled: PriceBook) -> None:
    before, after = at(2026, 11, 30, 23, 59, 59), at(2026, 12, 1)
    for at_s, usd in ((before, 2), (after, 4), (before, 2)):
        assert input_usd(bundled, "gemini-4-argon", at_s, "gemini", "gemini") == usd
    assert "from 2026-12-01" in bundled.price("gemini", "gemini", "gemini-4-argon", after).ref


def test_peak_hours_change_the_price_through_the_day(bundled: PriceBook) -> None:
    prices = [
        input_usd(bundled, "deepseek-v4-pro", at(2026, 11, 22, hour), "deepseek", "deepseek")
        for hour in range(24)
    ]
    assert [hour for hour, usd in enumerate(prices) if usd == 1.32] == [1, 2, 3, 6, 7, 8, 9]
    assert set(prices) == {0.66, 1.32}


def test_a_looked_up_price_is_the_same_object_until_it_changes(bundled: PriceBook) -> None:
    first = bundled.price("gemini", "gemini", "gemini-4-argon", at(2026, 11, 1))
    assert bundled.price("gemini", "gemini", "gemini-4-argon", at(2026, 11, 30)) is first
    assert (
        bundled.price("gemini", "gemini", "gemini-4-argon", dt.datetime(2026, 11, 30, tzinfo=dt.UTC)) is first
    )
    assert bundled.price("gemini", "gemini", "gemini-4-argon", at(2026, 12, 1)) is not first


# ------------------------------------------------------------------ whose prices


@pytest.mark.parametrize(
    ("kind", "model", "listed_as"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o"),
        ("azure", "gpt-4o", "openai/gpt-4o"),
        ("gemini", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("vertex", "publishers/google/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("vertex", "claude-opus-5-5", "google/claude-opus-5-5"),
        ("xai", "grok-4", "x-ai/grok-4"),
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"),
        ("mistral", "mistral-large-latest", "mistral/mistral-large"),
        ("cohere", "command-r-plus", "cohere/command-r-plus"),
        ("perplexity", "sonar", "perplexity/sonar"),
        ("deepseek", "deepseek-chat", "deepseek/deepseek-chat"),
    ],
)
def test_a_kind_is_looked_up_under_its_catalogue_name(
    bundled: PriceBook, kind: str, model: str, listed_as: str
) -> None:
    assert listed_as in bundled.price(kind, kind, model, NOW_S).ref


@pytest.mark.parametrize(
    "path", ["models/models/", "x/models/", "publishers/google/models/models/", "xmodels/"]
)
def test_no_price_is_found_under_a_path_by_which_limits_do_not_know_the_model(
    bundled: PriceBook, path: str
) -> None:
    with pytest.raises(UnpricedModel):
        bundled.price("gemini", "gemini", f"{path}gemini-2.5-flash", NOW_S)


def test_a_compatible_server_may_name_its_place_in_the_catalogue(bundled: PriceBook) -> None:
    price = bundled.price("together", "openai", "meta-llama/Llama-3.3-70B-Instruct-Turbo", NOW_S, "together")
    assert "together/" in price.ref
    with pytest.raises(UnpricedModel):
        bundled.price("together", "openai", "meta-llama/Llama-3.3-70B-Instruct-Turbo", NOW_S)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "gpt-6.2-sol"),
        ("openai", "gpt-image-2.6-nova"),
        ("openai", "ft:gpt-4.1-2025-04-14:acme::abc"),
        ("openai", "dall-e-3"),
        (
            "openai",
            "omni-moderation-latest",
        ),  # listed with an empty price: free is to be said in pricing.yaml
        ("openrouter", "deepseek/deepseek-r1:free"),
        ("anthropic", "claude-mythos-5"),
        ("gemini", "tunedModels/gemini-2.5-flash-x"),
        ("ollama", "llama3"),
        ("nobody", "gpt-4o"),
        ("openai", ""),
        ("openai", "x" * 100_000),
    ],
)
def test_what_has_no_price_is_refused_every_time(bundled: PriceBook, kind: str, model: str) -> None:
    for _ in range(2):
        with pytest.raises(UnpricedModel) as caught:
            bundled.price(kind, kind, model, NOW_S)
        assert len(str(caught.value)) < 400


def test_free_has_to_be_said(books: Books) -> None:
    book = books(
        {
            "models": [
                entry("ollama", "*", 0),
                {"provider": "openai", "model": "omni-*", "usd_per_mtok": {"input": 0, "output": 0}},
            ]
        }
    )
    cost = book.price("openai", "openai", "omni-moderation-latest", NOW_S).cost(Usage(input=10, output=10))
    assert (cost.total_femtousd, cost.complete) == (0, True)
    assert not book.price("ollama", "ollama", "llama3", NOW_S).cost(Usage(output=1)).complete


def test_an_unpriced_model_may_pass_at_a_ceiling(books: Books) -> None:
    book = books(
        {
            "unpriced": {"ceiling_usd": 0.5},
            "models": [{"provider": "*", "model": "new-*", "max_output_tokens": 9}],
        }
    )
    price = book.price("openai", "openai", "new-model", NOW_S)
    usage = Usage(input=10**9, output=10**9, web_searches=5, images=(("hd 1x1", 3),))
    for tier in (None, "hyperfast"):
        cost = price.cost(usage, tier)
        assert (cost.total_femtousd, cost.complete) == (5 * 10**14, True)
        bound = price.bound(10**9, 10**9, usage, tier=tier)
        assert (bound.total_femtousd, bound.output_token_femtousd) == (5 * 10**14, 0)
    assert price.max_output_tokens == 9
    assert "ceiling" in price.ref
    assert book.price("openai", "openai", "gpt-4o", NOW_S).cost(Usage(input=1)).total_femtousd == 2.5 * MTOK


def test_names_without_a_price_cannot_push_out_those_with_one(bundled: PriceBook) -> None:
    price = bundled.price("openai", "openai", "gpt-4o", NOW_S)
    for number in range(5000):
        with pytest.raises(UnpricedModel):
            bundled.price("nobody", "nobody", f"x{number}", NOW_S)
    assert bundled.price("openai", "openai", "gpt-4o", NOW_S) is price
