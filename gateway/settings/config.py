"""tollgate.yaml: what one gateway process needs to know, validated whole before anything starts.

This module and `gateway.settings.limits` are the only readers of files and of the environment. ``${NAME}`` in any
string is replaced from the environment; ``TOLLGATE_SERVER__PORT=9000`` overrides ``server.port``. Variables that the
environment does not set are read from the file ``tollgate.env`` beside ``tollgate.yaml``, if there is one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.errors import ConfigError

RESERVED_NAMES = frozenset({"api", "health", "metrics", "dashboard", "v1", "v1beta", "v1alpha"})
"""First path segments that mean something at the root, so no provider may be called so."""

WELL_KNOWN_TOKENS = frozenset(
    {"admin", "administrator", "changeme", "change-me", "default", "letmein", "password", "secret", "test",
     "token", "tollgate", "root", "1234567890"}
)  # fmt: skip
ADMIN_TOKEN_CHARS_MIN = 20
ADMIN_TOKEN_DISTINCT_MIN = 8

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    """Where to listen, and the bounds on what one client may ask of this process."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    body_bytes_max: Annotated[int, Field(ge=1024, le=1 << 30)] = 64 * 1024 * 1024
    """Largest request body, after decompression. 64 MB: twice what the largest provider accepts."""
    header_bytes_max: Annotated[int, Field(ge=1024, le=1 << 20)] = 64 * 1024
    """All headers of a request together. Providers ask for less than 64 KiB."""
    body_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest silence of a client that is still sending its body."""
    client_stall_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest time a client may leave a full send buffer unread before it counts as gone."""
    drain_timeout_s: Annotated[float, Field(ge=0)] = 30.0
    """How long a stopping gateway lets calls in flight finish."""


class RedisSettings(_Section):
    url: str = "redis://127.0.0.1:6379/0"
    partitions: Annotated[int, Field(ge=1, le=16384)] = 1
    """Fixed at the first start: organisations are spread over this many hash slots."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if not re.match(r"(redis|rediss|unix)://", value):
            raise ValueError("must begin with redis://, rediss:// (TLS) or unix:// (a socket file)")
        return value


class PostgresSettings(_Section):
    dsn: SecretStr = SecretStr("postgresql://tollgate@127.0.0.1/tollgate")
    connections_max: Annotated[int, Field(ge=2, le=200)] = 8

    @field_validator("dsn")
    @classmethod
    def _known_scheme(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"postgres(ql)?://", value.get_secret_value()):
            raise ValueError("must begin with postgresql:// (or postgres://)")
        return value


class BudgetSettings(_Section):
    hold_ttl_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """A hold whose gateway is silent for this long is settled at the held amount."""


class UpstreamKey(_Section):
    """One credential of a provider."""

    api_key: SecretStr
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    orgs: tuple[str, ...] = ()
    """Only for these organisations, which then use no other key; empty: for everybody else."""


class TimeoutSettings(_Section):
    """Bounds on a provider's silence; long, because reasoning models think before they speak."""

    connect_s: Annotated[float, Field(gt=0)] = 10.0
    first_byte_s: Annotated[float, Field(gt=0)] = 900.0
    idle_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest silence between two reads once the reply has begun (SDKs wait 600 s)."""


class ProviderSettings(_Section):
    kind: str
    base_url: str
    api_key: SecretStr | None = None
    api_keys: tuple[UpstreamKey, ...] = ()
    default: bool = False
    catalogue: str | None = None
    """Whose prices apply when ``kind`` only says which dialect is spoken."""
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    keepalive_s: Annotated[float, Field(ge=0)] = 4.0
    """An idle connection older than this is not used again. A request written into one that the provider has just
    closed is charged in full, since nobody can know whether it was acted upon; the shortest limit that common
    servers have (uvicorn's, node's) is 5 s."""
    ca_file: Path | None = None
    timeouts: TimeoutSettings = TimeoutSettings()

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        match = re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", value)
        if not match:
            raise ValueError("must look like https://host[:port][/prefix], without query or credentials")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_way_to_give_keys(self) -> Self:
        if self.api_key is not None and self.api_keys:
            raise ValueError("give either api_key or api_keys, not both")
        return self

    @property
    def keys(self) -> tuple[UpstreamKey, ...]:
        if self.api_key is not None and self.api_key.get_secret_value():
            return (UpstreamKey(api_key=self.api_key),)
        return self.api_keys


class Settings(BaseSettings):
    """The whole of tollgate.yaml."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="TOLLGATE_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    server: ServerSettings = ServerSettings()
    redis: RedisSettings = RedisSettings()
    postgres: PostgresSettings = PostgresSettings()
    budgets: BudgetSettings = BudgetSettings()
    admin_token: SecretStr
    providers: dict[str, ProviderSettings] = Field(min_length=1)
    pricing: Path | None = None
    limits: Path
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)

    @field_validator("providers")
    @classmethod
    def _names(cls, value: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name in value:
            if name in RESERVED_NAMES:
                raise ValueError(f"a provider cannot be called {name!r}: that path belongs to the gateway")
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
                raise ValueError(f"provider name {name!r}: use lower-case letters, digits, '-', '_', '.'")
        return value

    @model_validator(mode="after")
    def _one_default_per_kind(self) -> Self:
        defaults: dict[str, str] = {}
        for name, provider in self.providers.items():
            if provider.default:
                other = defaults.setdefault(provider.kind, name)
                if other != name:
                    raise ValueError(
                        f"providers.{other} and providers.{name} are both the default of {provider.kind}"
                    )
        return self

    def default_provider(self, kind: str) -> str | None:
        """The provider that root paths of ``kind`` go to: the marked one, else the only or first one."""
        of_kind = [name for name, provider in self.providers.items() if provider.kind == kind]
        marked = [name for name in of_kind if self.providers[name].default]
        found = marked or of_kind
        return found[0] if found else None


def admin_token_weakness(token: str) -> str | None:
    """Why ``token`` must not guard a gateway that others can reach; None if it may."""
    if token.lower() in WELL_KNOWN_TOKENS:
        return "it is a well-known word"
    if len(token) < ADMIN_TOKEN_CHARS_MIN:
        return f"it is shorter than {ADMIN_TOKEN_CHARS_MIN} characters"
    if len(set(token)) < ADMIN_TOKEN_DISTINCT_MIN:
        return "it repeats a few characters"
    return None


def load_settings(path: Path, *, weak_admin_token_ok: bool = False) -> Settings:
    """Read and validate ``path`` and the environment. Raises `ConfigError` naming file, path and reason."""
    fill_environment(path.with_suffix(".env"))
    document = read_yaml(path)
    try:
        settings = Settings(**document)
    except ValidationError as error:
        raise ConfigError(describe(path, error)) from error
    base = path.resolve().parent
    settings = settings.model_copy(
        update={
            "limits": base / settings.limits,
            "pricing": base / settings.pricing if settings.pricing else None,
        }
    )
    weakness = admin_token_weakness(settings.admin_token.get_secret_value())
    if weakness and not weak_admin_token_ok:
        raise ConfigError(
            f"{path}: admin_token: refused because {weakness}; use e.g. the output of `openssl rand -hex 32`"
        )
    return settings


def fill_environment(path: Path) -> None:
    """Take ``NAME=value`` lines of ``path``, if it exists, for variables that the environment does not set."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: line {number}: write NAME=value")
        os.environ.setdefault(name, value)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping with ``${NAME}`` filled in; duplicate keys are an error, not a silent last-wins."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error
    try:
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader that also refuses duplicates
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        # What PyYAML lets through of the types it makes: 2026-02-30, numbers of 5,000 digits, lists as keys.
        raise ConfigError(f"{path}: holds a value that is not one: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping at its top level")
    return {str(key): _filled(path, str(key), value) for key, value in document.items()}


def describe(path: Path, error: ValidationError) -> str:
    """One line per problem: file, path inside it, reason. Never the value: it may be a secret."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        reason = {"extra_forbidden": "unknown key", "missing": "is required"}.get(
            problem["type"], problem["msg"].removeprefix("Value error, ")
        )
        lines.append(f"{path}: {where}: {reason}")
    return "\n".join(lines)


def _filled(path: Path, where: str, value: Any) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _variable(path, where, match[1]), value)
    if isinstance(value, Mapping):
        return {key: _filled(path, f"{where}.{key}", item) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(path, f"{where}.{index}", item) for index, item in enumerate(value)]
    return value


def _variable(path: Path, where: str, name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(f"{path}: {where}: the environment variable {name} is not set")
    return value


class _StrictLoader(yaml.SafeLoader):
    """YAML as people write it, minus the trap of a key given twice."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
