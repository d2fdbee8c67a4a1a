"""tollgate.yaml: what one gateway process needs to know, validated whole before anything starts.

This package alone reads files and the environment. ``${NAME}`` in any string is replaced from the environment;
``TOLLGATE_SERVER__PORT=9000`` overrides ``server.port``. Variables that the environment does not set are read from
the file ``tollgate.env`` beside ``tollgate.yaml``, if there is one.

A further section is one class in a module of its own and one line in `Settings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator

from gateway.settings.alerts import AlertSettings, MailSettings, SmsSettings, WebhookSettings
from gateway.settings.api import ApiSettings
from gateway.settings.document import Document, fill_environment, read_document
from gateway.settings.encryption import EncryptionSettings
from gateway.settings.environment import SOURCE, Origins, origin, overlay
from gateway.settings.problems import Problems, violations
from gateway.settings.providers import (
    KINDS,
    ProviderName,
    ProviderSettings,
    default_provider,
    unclear_defaults,
)
from gateway.settings.section import Section

WELL_KNOWN_TOKENS = frozenset(
    {"admin", "administrator", "changeme", "change-me", "default", "letmein", "password", "secret", "test",
     "token", "tollgate", "root", "1234567890"}
)  # fmt: skip
ADMIN_TOKEN_CHARS_MIN = 20
ADMIN_TOKEN_DISTINCT_MIN = 8


class ServerSettings(Section):
    """Where to listen, and the bounds on what one client may ask of this process."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    body_bytes_max: Annotated[int, Field(ge=1024, le=1 << 30)] = 64 * 1024 * 1024
    """Largest request body, after decompression. 64 MB: twice what the largest provider accepts."""
    bodies_bytes_max: Annotated[int | None, Field(ge=1024, validate_default=True)] = None
    """All request bodies in hand in one process together; beyond it requests are answered with 503. Absent: eight of
    the largest. One organisation leaves room for one of the largest to the others, if there is room for two."""
    header_bytes_max: Annotated[int, Field(ge=1024, le=1 << 20)] = 64 * 1024
    """All headers of a request together. Providers ask for less than 64 KiB."""
    body_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest silence of a client that is still sending its body."""
    body_total_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    """Longest time that a body may take altogether: nobody keeps memory by sending drops. 64 MB need 2 MBit/s."""
    client_stall_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest time a client may leave a full send buffer unread before it counts as gone."""
    drain_timeout_s: Annotated[float, Field(ge=0)] = 30.0
    """How long a stopping gateway lets calls in flight finish."""

    @field_validator("bodies_bytes_max")
    @classmethod
    def _room_for_one(cls, value: int | None, info: ValidationInfo) -> int | None:
        largest: int | None = info.data.get("body_bytes_max")
        if value is not None and largest is not None and value < largest:
            raise ValueError(f"must be at least body_bytes_max ({largest}), or the largest never fits")
        return value

    @property
    def bodies_room_bytes(self) -> int:
        return 8 * self.body_bytes_max if self.bodies_bytes_max is None else self.bodies_bytes_max


class RedisSettings(Section):
    url: str = "redis://127.0.0.1:6379/0"
    partitions: Annotated[int, Field(ge=1, le=16384)] = 1
    """Fixed at the first start: organisations are spread over this many hash slots."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if not re.match(r"(redis|rediss|unix)://", value):
            raise ValueError("must begin with redis://, rediss:// (TLS) or unix:// (a socket file)")
        return value


class PostgresSettings(Section):
    dsn: SecretStr = SecretStr("postgresql://tollgate@127.0.0.1/tollgate")
    connections_max: Annotated[int, Field(ge=2, le=200)] = 8

    @field_validator("dsn")
    @classmethod
    def _known_scheme(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"postgres(ql)?://", value.get_secret_value()):
            raise ValueError("must begin with postgresql:// (or postgres://)")
        return value


class BudgetSettings(Section):
    hold_ttl_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """A hold whose gateway is silent for this long is settled at the held amount."""


class Settings(Section):
    """The whole of tollgate.yaml."""

    server: ServerSettings = ServerSettings()
    redis: RedisSettings = RedisSettings()
    postgres: PostgresSettings = PostgresSettings()
    budgets: BudgetSettings = BudgetSettings()
    api: ApiSettings = ApiSettings()
    alerts: AlertSettings = AlertSettings()
    mail: MailSettings = MailSettings()
    sms: SmsSettings = SmsSettings()
    webhooks: WebhookSettings = WebhookSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    admin_token: SecretStr
    providers: dict[ProviderName, ProviderSettings] = Field(min_length=1)
    pricing: Path | None = None
    limits: Path
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def default_provider(self, kind: str) -> str | None:
        """The provider that root paths of ``kind`` go to; None if there is none."""
        return default_provider(self.providers, kind)


def admin_token_weakness(token: str) -> str | None:
    """Why ``token`` must not guard a gateway that others can reach; None if it may."""
    if token.lower() in WELL_KNOWN_TOKENS:
        return "it is a well-known word"
    if len(token) < ADMIN_TOKEN_CHARS_MIN:
        return f"it is shorter than {ADMIN_TOKEN_CHARS_MIN} characters"
    if len(set(token)) < ADMIN_TOKEN_DISTINCT_MIN:
        return "it repeats a few characters"
    return None


class SettingsFile:
    """tollgate.yaml and the environment as read, whether or not they make `Settings`.

    What is wrong goes to ``problems``; where the other files are is known even then, so that they can be looked at
    in the same run.
    """

    def __init__(
        self,
        path: Path,
        problems: Problems,
        *,
        kinds: Collection[str] | None = None,
        root_kinds: frozenset[str] = frozenset(),
        weak_admin_token_ok: bool = False,
    ) -> None:
        self.path = path
        self._problems = problems
        fill_environment(path.with_suffix(".env"), problems)
        document = read_document(path, problems)
        self._readable = document is not None
        self._document = document or Document(path, {})
        self._origins: Origins = overlay(
            self._document.values, os.environ, tuple(Settings.model_fields), problems
        )
        self._bad: set[tuple[str, ...]] = set(self._document.unset) - set(self._origins)
        self.settings = self._validated(kinds) if self._readable else None
        for where, reason in unclear_defaults(self._document.values.get("providers"), root_kinds):
            problems.add(path, where, reason)
        if not weak_admin_token_ok:
            self._check_admin_token()

    def named(self, setting: str) -> Path | None:
        """The file that ``limits`` or ``pricing`` names, if it names one."""
        value = self._document.values.get(setting)
        if (setting,) in self._bad or not isinstance(value, str | Path):
            return None
        return self.path.resolve().parent / value

    def _validated(self, kinds: Collection[str] | None) -> Settings | None:
        try:
            settings = Settings.model_validate(self._document.values, context={KINDS: kinds})
        except ValidationError as error:
            for where, kind, reason in violations(Settings, error):
                self._tell(where, kind, reason)
            return None
        return settings.model_copy(update={name: self.named(name) for name in ("limits", "pricing")})

    def _tell(self, path: tuple[str, ...], kind: str, reason: str) -> None:
        """Names the variable rather than the file where the value came from the environment."""
        if path in self._bad and path in self._document.unset:
            return  # that the variable is not set has been said
        self._bad.add(path)
        where = ".".join(path)
        variable = origin(self._origins, path) or (self._made_by(path[:-1]) if kind == "missing" else None)
        if variable is not None:
            self._problems.add(SOURCE, f"{variable}: {where}", reason)
            return
        names = self._document.variables.get(path, ())
        self._problems.add(self.path, where, f"{reason} (it is {', '.join(names)})" if names else reason)

    def _made_by(self, path: tuple[str, ...]) -> str | None:
        """The variable that made the mapping at ``path``, of which the file says nothing."""
        holder: Any = self._document.values
        for part in path:
            holder = holder.get(part) if isinstance(holder, Mapping) else None
        keys = list(holder) if isinstance(holder, Mapping) else []
        makers = [origin(self._origins, (*path, str(key))) for key in keys]
        return makers[0] if makers and all(makers) else None

    def _check_admin_token(self) -> None:
        token = self._document.values.get("admin_token")
        if ("admin_token",) in self._bad or not isinstance(token, str):
            return
        if weakness := admin_token_weakness(token):
            reason = f"refused because {weakness}; use e.g. the output of `openssl rand -hex 32`"
            self._tell(("admin_token",), "weak", reason)


def load_settings(path: Path, *, weak_admin_token_ok: bool = False) -> Settings:
    """Read and validate ``path`` and the environment. Raises `ConfigError` with one line for each problem."""
    problems = Problems()
    settings = SettingsFile(path, problems, weak_admin_token_ok=weak_admin_token_ok).settings
    problems.raise_any()
    assert settings is not None
    return settings
