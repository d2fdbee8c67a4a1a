"""One configured provider at run time: its dialect, its connections and its keys, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.errors import UnsupportedRoute
from gateway.providers.base import Dialect
from gateway.proxy.upstream_keys import UpstreamKeys
from gateway.proxy.upstream_pool import UpstreamPool
from gateway.settings.config import Settings
from gateway.settings.providers import ProviderSettings


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    settings: ProviderSettings
    dialect: Dialect
    pool: UpstreamPool
    keys: UpstreamKeys
    kind: str
    catalogue: str | None
    """See `gateway.settings.providers.ProviderSettings`."""


class Providers:
    """All configured providers, and which of them a path means."""

    def __init__(
        self, settings: Settings, dialects: Mapping[str, Dialect], clock: Callable[[], float]
    ) -> None:
        self._by_name = {
            name: Provider(
                name=name,
                settings=provider,
                dialect=dialects[provider.kind],
                pool=UpstreamPool(provider),
                keys=UpstreamKeys(provider.keys, clock),
                kind=provider.kind,
                catalogue=provider.catalogue,
            )
            for name, provider in settings.providers.items()
        }
        kinds = {provider.kind for provider in settings.providers.values()}
        self._defaults = {kind: settings.default_provider(kind) for kind in kinds}

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._by_name.values())

    def named(self, path: str) -> tuple[Provider, str] | None:
        """``/openai/v1/models`` -> (openai, ``/v1/models``); None if the first segment names no provider."""
        first, slash, rest = path[1:].partition("/")
        provider = self._by_name.get(first)
        return (provider, slash + rest) if provider is not None else None

    def default(self, kind: str) -> Provider:
        """The provider that root paths of ``kind`` go to. Raises `UnsupportedRoute` if there is none."""
        name = self._defaults.get(kind)
        if name is None:
            raise UnsupportedRoute(f"No provider of kind {kind!r} is configured on this gateway.")
        return self._by_name[name]

    def get(self, name: str) -> Provider | None:
        return self._by_name.get(name)

    def close(self) -> None:
        for provider in self._by_name.values():
            provider.pool.close()
