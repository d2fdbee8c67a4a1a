"""The account under which the private servers run.

An ordinary user runs them as himself. Root cannot (Postgres refuses), so root's servers run as the owner of
the data directory if that is somebody else, and as ``nobody`` otherwise. Data that exists already keeps its
owner.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.failure import EmbeddedError


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that the servers become, or None for both: they stay what the gateway is."""

    uid: int | None = None
    gid: int | None = None

    def make_directory(self, path: Path) -> None:
        """Create ``path`` for this account alone (0700) if it is not there."""
        path.mkdir(mode=0o700, exist_ok=True)
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def is_kept_out(self, *paths: Path) -> bool:
        """Whether this account may not enter or run one of ``paths`` by its mode and those above."""
        if self.uid is None:
            return False
        return any(
            not _is_open(place, self.uid, wanted)
            for path in paths
            for place, wanted in (
                (path, stat.S_IROTH | stat.S_IXOTH),
                *((up, stat.S_IXOTH) for up in path.parents),
            )
        )


def account_for(data: Path) -> Account:
    """The account for servers on ``data``. Raises EmbeddedError where root has nobody to become."""
    if os.geteuid() != 0:
        return Account()
    for place in (data / "postgres", data):
        if place.exists() and (owner := place.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as missing:
        raise EmbeddedError(
            "Postgres does not run as root, and this machine has no account `nobody` to run it as. Start "
            "Tollgate as an ordinary user, or give it a data directory (--data) that belongs to one."
        ) from missing
    return Account(nobody.pw_uid, nobody.pw_gid)


def _is_open(place: Path, uid: int, wanted_of_others: int) -> bool:
    found = place.stat()
    wanted = wanted_of_others << 6 if found.st_uid == uid else wanted_of_others
    return found.st_mode & wanted == wanted
