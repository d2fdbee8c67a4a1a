"""What is installed is what is in the tree: SQL, Lua and data files included."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGES = ("gateway", "pricing", "migrations")


def test_the_wheel_has_every_file_of_the_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"  # setuptools leaves its build directory where it builds
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    expected = {path.relative_to(source).as_posix() for path in _files(source, PACKAGES)}

    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)),
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES}
    assert packed == expected


def _files(root: Path, folders: tuple[str, ...]) -> list[Path]:
    return [path for folder in folders for path in (root / folder).rglob("*") if path.is_file()]
