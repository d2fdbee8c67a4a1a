"""How keys are made, recognised and described."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from gateway.errors import BadRequest
from gateway.identity.issuing import NewKey, check
from gateway.identity.keys import KeyRecord, digest_of, file_keys, generate_key, looks_generated, prefix_of
from gateway.settings.limits import LimitsFile


def test_a_generated_key_is_random_recognisable_and_url_safe() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(looks_generated(key) and len(key) == 46 for key in keys)
    assert not looks_generated("sk-abc")
    assert not looks_generated(generate_key() + "\n")


def test_what_is_kept_of_a_key_cannot_be_used() -> None:
    key = generate_key()
    assert digest_of(key) == hashlib.sha256(key.encode()).hexdigest()
    assert key.startswith(prefix_of(key))
    assert len(prefix_of(key)) < 10


def test_a_key_that_is_not_text_still_has_a_digest() -> None:
    assert len(digest_of("\udcff")) == 64


def test_a_record_survives_its_json_and_members_of_a_newer_version() -> None:
    record = KeyRecord(
        "k", "acme", None, "ada", "api", ("gpt-*",), (), 10, 2, datetime(2027, 1, 1, tzinfo=UTC), True, True
    )
    assert KeyRecord.from_json(record.to_json()) == record
    assert KeyRecord.from_json(record.to_json()[:-1] + b',"newer":1}') == record


def test_keys_of_the_limits_file_know_the_scopes_that_they_stand_in() -> None:
    digests = {name: digest_of(name) for name in ("of-org", "of-team", "of-user", "of-team-user")}
    limits = LimitsFile.model_validate(
        {
            "orgs": [
                {
                    "id": "acme",
                    "keys": [{"id": "of-org", "sha256": digests["of-org"], "open_calls": 3}],
                    "users": [
                        {"id": "ada", "keys": [{"id": "of-user", "sha256": digests["of-user"].upper()}]}
                    ],
                    "teams": [
                        {
                            "id": "research",
                            "keys": [
                                {"id": "of-team", "sha256": digests["of-team"], "requests_per_minute": 7}
                            ],
                            "users": [
                                {
                                    "id": "bob",
                                    "keys": [{"id": "of-team-user", "sha256": digests["of-team-user"]}],
                                }
                            ],
                        }
                    ],
                }
            ]
        }
    )
    keys = file_keys(limits)
    scopes = {record.key_id: (record.team_id, record.user_id) for record in keys.values()}
    assert scopes == {
        "of-org": (None, None),
        "of-user": (None, "ada"),
        "of-team": ("research", None),
        "of-team-user": ("research", "bob"),
    }
    assert set(keys) == set(digests.values())
    assert {record.source for record in keys.values()} == {"file"}
    assert (keys[digests["of-org"]].open_calls_max, keys[digests["of-team"]].requests_per_minute) == (3, 7)


@pytest.mark.parametrize(
    ("param", "change"),
    [
        ("org", {"org_id": "a b"}),
        ("team", {"team_id": ""}),
        ("user", {"user_id": "x|y"}),
        ("name", {"name": " "}),
        ("name", {"name": "a\nb"}),
        ("allowed_models", {"allowed_models": ("",)}),
        ("allowed_models", {"allowed_models": ("models/*",)}),
        ("allowed_models", {"allowed_models": ("Publishers/google/models/*-pro",)}),
        ("allowed_models", {"allowed_models": ("publishers/google/*",)}),
        ("allowed_operations", {"allowed_operations": ("video",)}),
        ("requests_per_minute", {"requests_per_minute": 0}),
        ("open_calls_max", {"open_calls_max": -1}),
        ("expires_at", {"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}),
        ("expires_at", {"expires_at": datetime(2027, 1, 1)}),  # noqa: DTZ001 - no zone is what is wrong with it
    ],
)
def test_a_new_key_that_cannot_be_is_refused_by_the_name_of_what_is_wrong(
    param: str, change: dict[str, object]
) -> None:
    new = NewKey(**{"org_id": "acme", "name": "laptop", **change})  # type: ignore[arg-type]
    with pytest.raises(BadRequest) as refusal:
        check(new, datetime(2026, 6, 1, tzinfo=UTC))
    assert refusal.value.param == param
