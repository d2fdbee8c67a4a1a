"""Values per image: the most specific key counts, what is left to the provider takes the dearest."""

from __future__ import annotations

import pytest

from pricing.images import PerImage
from pricing.usage import Usage
from tests.unit.pricing.conftest import NOW_S, Books

PER_IMAGE = PerImage.of(
    {"image": 9, "image hd": 5, "image 1024x1024": 4, "image hd 1024x1024": 2, "image low 512x512": 20}
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hd 1024x1024", 2),
        ("HD 1024X1024", 2),
        ("hd 512x512", 5),
        ("low 1024x1024", 4),
        ("medium 512x512", 9),
        ("low 512x512", 20),
        ("auto 1024x1024", 9),
        ("auto 512x512", 20),
        ("hd auto", 9),
        ("auto auto", 20),
        ("", 20),
    ],
)
def test_the_most_specific_key_counts(name: str, value: int) -> None:
    assert PER_IMAGE.of_one(name) == value


def test_what_no_key_covers_has_no_value() -> None:
    assert PerImage.of({"image hd 1024x1024": 2}).of_one("hd 512x512") is None
    assert PerImage(()).of_one("hd 512x512") is None


def test_between_two_keys_as_specific_the_dearer_counts() -> None:
    assert PerImage.of({"image hd": 5, "image 1x1": 7}).of_one("hd 1x1") == 7


DALLE = {
    "provider": "openai",
    "model": "dall-e-3",
    "usd_per": {"image hd 1024x1024": 0.08, "image standard": 0.04},
}


def test_images_are_charged_by_the_piece_and_unpriced_ones_are_named(books: Books) -> None:
    price = books({"models": [DALLE]}).price("openai", "openai", "dall-e-3", NOW_S)
    cost = price.cost(Usage(images=(("hd 1024x1024", 2), ("standard 1x1", 1), ("hd 9x9", 1))))
    assert cost.total_femtousd == 20 * 10**13
    assert cost.unpriced == ("image hd 9x9",)
    assert [(line.bucket, line.count) for line in cost.lines] == [
        ("image hd 1024x1024", 2),
        ("image standard 1x1", 1),
    ]
    assert sum(line.femtousd for line in cost.lines) == cost.total_femtousd


def test_images_with_tokens_reported_are_not_charged_twice(books: Books) -> None:
    entry = {"provider": "openai", "model": "gpt-image-1", "usd_per": {"image": 0.25}}
    price = books({"models": [entry]}).price("openai", "openai", "gpt-image-1", NOW_S)
    tokens = Usage(input=10, output_image=4160)
    pieces = Usage(images=(("high 1024x1024", 1),))
    assert price.cost(tokens + pieces) == price.cost(tokens)
    assert price.cost(pieces).total_femtousd == 25 * 10**13
    bound = price.bound(10, 0, pieces).total_femtousd
    assert bound >= max(price.cost(tokens).total_femtousd, price.cost(pieces).total_femtousd)
