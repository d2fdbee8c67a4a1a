"""All that a gateway is started with, tollgate.yaml, limits.yaml, pricing.yaml and the environment, read as one.

Whatever is wrong with any of them is told at once: one line for each problem.
"""

from __future__ import annotations

from pathlib import Path

from gateway.providers.paths import ROOT_KINDS
from gateway.providers.registry import DIALECTS
from gateway.reload import read_files
from gateway.settings.config import Settings, SettingsFile
from gateway.settings.problems import Problems


def load_configuration(path: Path, *, weak_admin_token_ok: bool = False) -> Settings:
    """Read and validate ``path`` and everything that it names. Raises `ConfigError`."""
    problems = Problems()
    file = SettingsFile(
        path,
        problems,
        kinds=DIALECTS,
        root_kinds=ROOT_KINDS,
        weak_admin_token_ok=weak_admin_token_ok,
    )
    read_files(file.named("limits"), file.named("pricing"), problems)
    problems.raise_any()
    assert file.settings is not None
    return file.settings
