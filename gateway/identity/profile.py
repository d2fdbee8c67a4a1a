"""What is personal about somebody, sealed in their row and opened for those who may see it."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, fields

from gateway.errors import BadRequest
from gateway.identity.vault import Vault, place
from gateway.stores.postgres import Row

NAME_CHARS_MAX = 200
EMAIL_CHARS_MAX = 254
"""RFC 5321, 4.5.3.1.3: a path has 256 octets, two of them angle brackets."""
# Atoms with dots between them on either side (RFC 5322, 3.2.3; RFC 6531 adds what is not ASCII). Commas, semicolons and
# the like make several addresses of one in a header; =? begins a word that mail programs decode into something else.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9_\u00a1-\U0010ffff-]"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@)(?!.*(?:\s|=\?)){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}+\.)+{_LABEL}{{2,}}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


@dataclass(frozen=True, slots=True, repr=False)
class Profile:
    """None: not known. Never logged, so it prints as nothing."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    """E.164: ``+`` and up to 15 digits."""

    def __repr__(self) -> str:
        return "Profile(…)"

    @property
    def given(self) -> list[str]:
        """Which of its fields are known, for the audit log."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


def is_email(text: str) -> bool:
    """Whether it is the address of one mailbox."""
    return len(text) <= EMAIL_CHARS_MAX and _EMAIL.fullmatch(text) is not None


def check(profile: Profile) -> Profile:
    """The profile as it is stored. Raises `BadRequest` naming the member, without repeating what is in it."""
    name = (profile.name or "").strip() or None
    email = (profile.email or "").strip() or None
    phone = re.sub(r"[\s()./-]", "", profile.phone or "") or None
    if name is not None and (len(name) > NAME_CHARS_MAX or not name.isprintable()):
        raise BadRequest(f"name: must be 1 to {NAME_CHARS_MAX} printable characters", param="name")
    if email is not None and not is_email(email):
        raise BadRequest("email: must be one address like ada@example.com", param="email")
    if phone is not None and not _PHONE.fullmatch(phone):
        raise BadRequest("phone: must begin with + and the country code, e.g. +33612345678", param="phone")
    return Profile(name, email, phone)


def seal(profile: Profile, vault: Vault, org: str, user: str) -> tuple[str | None, str | None, str | None]:
    """Name, e-mail and phone as their columns hold them. Raises `EncryptionNotConfigured` if any is given."""
    values = ((field.name, getattr(profile, field.name)) for field in fields(profile))
    name, email, phone = (
        None if value is None else vault.seal(value, _place(column, org, user)) for column, value in values
    )
    return name, email, phone


def unseal(row: Row, vault: Vault) -> Profile:
    """Of a row of people. Raises `Unsealable`."""
    opened = {}
    for field in fields(Profile):
        sealed = row[f"{field.name}_sealed"]
        where = _place(field.name, row["org_id"], row["user_id"])
        opened[field.name] = None if sealed is None else vault.open(sealed, where)
    return Profile(**opened)


def _place(column: str, org: str, user: str) -> str:
    return place("people", f"{column}_sealed", org, user)


def email_digest(key: bytes, email: str) -> str:
    """Finds an address without showing it: the same for every spelling in upper and lower case."""
    return hmac.new(key, email.strip().casefold().encode(), hashlib.sha256).hexdigest()
