"""What is taken as somebody's e-mail address is one address, wherever it is written."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from aiosmtplib.email import extract_recipients
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.identity.profile import Profile, check


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.com",
        "ada.lovelace+bills@mail.example.co.uk",
        "o'neil@example.com",
        "jürgen@exämple.com",
        "अनुच्छेद@उदाहरण.भारत",
        "x" * 64 + "@example.com",
    ],
)
def test_an_address_is_kept_as_it_is_written(email: str) -> None:
    assert check(Profile(email=f" {email} ")).email == email


@pytest.mark.parametrize(
    "email",
    [
        "root,ada@example.com",
        "postmaster;x@example.com",
        "a:b@example.com",
        "ada@exa,mple.com",
        "victim(,)x@example.com",
        '"a,b"x@example.com',
        "ada@[127.0.0.1]",
        "=?utf-8?q?root=2C?=@example.com",
        "ada@example@example.com",
        "ada\u2003lovelace@example.com",
        "ada@example",
        "@example.com",
        ".ada@example.com",
        "x" * 65 + "@example.com",
    ],
)
def test_what_is_several_addresses_or_none_is_refused(email: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check(Profile(email=email))
    assert caught.value.param == "email"


@given(st.from_regex(r"[ -~é]{1,20}@[ -~é]{1,20}\.[ -~é]{2,5}", fullmatch=True))
def test_what_is_taken_reaches_one_mailbox_and_no_other(email: str) -> None:
    try:
        taken = check(Profile(email=email)).email
    except BadRequest:
        return
    message = EmailMessage()
    message["To"] = taken
    assert extract_recipients(message) == [taken]
