"""The section ``providers``: who requests are forwarded to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from gateway.settings.problems import suggestion
from gateway.settings.section import Section

RESERVED_NAMES = frozenset({"api", "health", "metrics", "dashboard", "v1", "v1beta", "v1alpha"})
"""First path segments that mean something at the root, so no provider may be called so."""

KINDS = "kinds"
"""In the context of a validation: the kinds of provider that there are."""


def _provider_name(name: str) -> str:
    if name in RESERVED_NAMES:
        raise ValueError(f"a provider cannot be called {name!r}: that path belongs to the gateway; rename it")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise ValueError("the name of a provider is of lower-case letters, digits, '-', '_', '.'; rename it")
    return name


ProviderName = Annotated[str, AfterValidator(_provider_name)]


class UpstreamKey(Section):
    """One credential of a provider."""

    api_key: SecretStr
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    orgs: tuple[str, ...] = ()
    """Only for these organisations, which then use no other key; empty: for everybody else."""


class TimeoutSettings(Section):
    """Bounds on a provider's silence; long, because reasoning models think before they speak."""

    connect_s: Annotated[float, Field(gt=0)] = 10.0
    first_byte_s: Annotated[float, Field(gt=0)] = 900.0
    idle_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest silence between two reads once the reply has begun (SDKs wait 600 s)."""


class ProviderSettings(Section):
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

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str, info: ValidationInfo) -> str:
        kinds = (info.context or {}).get(KINDS)
        if kinds is not None and value not in kinds:
            raise ValueError(f"there is no kind {value!r}; {suggestion(value, sorted(kinds))}")
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        match = re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", value)
        if not match:
            raise ValueError("must look like https://host[:port][/prefix], without query or credentials")
        return value.rstrip("/")

    @field_validator("api_keys")
    @classmethod
    def _one_way_to_give_keys(
        cls, value: tuple[UpstreamKey, ...], info: ValidationInfo
    ) -> tuple[UpstreamKey, ...]:
        if value and info.data.get("api_key") is not None:
            raise ValueError("give either api_key or api_keys, not both")
        return value

    @property
    def keys(self) -> tuple[UpstreamKey, ...]:
        if self.api_key is not None and self.api_key.get_secret_value():
            return (UpstreamKey(api_key=self.api_key),)
        return self.api_keys


_BOOL = TypeAdapter(bool)


def unclear_defaults(providers: object, root_kinds: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Where a root path would not know its provider, as (path, reason).

    Looks at what the file says rather than at what was read of it, so that it is told beside everything else.
    """
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    marked: defaultdict[str, list[str]] = defaultdict(list)
    for name, provider in providers.items() if isinstance(providers, Mapping) else ():
        kind = provider.get("kind") if isinstance(provider, Mapping) else None
        if isinstance(name, str) and isinstance(kind, str):
            by_kind[kind].append(name)
            if _is_true(provider.get("default")):
                marked[kind].append(name)
    for kind, names in by_kind.items():
        if len(marked[kind]) > 1:
            first, *others = marked[kind]
            for name in others:
                yield (
                    f"providers.{name}.default",
                    f"providers.{first} is the default of {kind} already; keep one",
                )
        elif kind in root_kinds and not marked[kind] and len(names) > 1 and kind not in names:
            yield (
                f"providers.{names[-1]}",
                f"{', '.join(names)} are all of kind {kind}: mark the one that answers at the root with "
                "`default: true`, or call it " + kind,
            )


def default_provider(providers: Mapping[str, ProviderSettings], kind: str) -> str | None:
    """The provider that root paths of ``kind`` go to: the marked one, else the one called like its kind, else the
    only one. None if there is none."""
    of_kind = [name for name, provider in providers.items() if provider.kind == kind]
    marked = [name for name in of_kind if providers[name].default]
    found = marked or [name for name in of_kind if name == kind] or of_kind
    return found[0] if found else None


def _is_true(value: Any) -> bool:
    try:
        return _BOOL.validate_python(value)
    except ValidationError:
        return False
