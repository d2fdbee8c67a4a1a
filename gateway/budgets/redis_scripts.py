"""The Lua scripts beside this file. A changed script gets a new name, so that old and new gateways run
together.
"""

from __future__ import annotations

from importlib.resources import files

from gateway.stores.redis import Script


def _script(*names: str) -> Script:
    """The last is the script; what stands before it are local functions that it uses."""
    folder = files("gateway.budgets")
    parts = [folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names]
    return Script.of(names[-1], "\n".join(parts))


HOLD = _script("rungs_1", "hold_1")
RESOLVE = _script("rungs_1", "crossing_1", "resolve_1")
RENEW = _script("renew_1")
DUE = _script("due_1")
EXTEND = _script("rungs_1", "extend_1")
ATTACH = _script("attach_1")
FINISH = _script("finish_1")
PROTECT = _script("protect_1")
PUBLISH = _script("publish_3")
READ = _script("read_1")
OPEN = _script("open_1")
ANNOUNCE = _script("crossing_1", "announce_1")
CHANGE = _script("change_1")
BUILD = _script("build_1")
BUILT = _script("built_1")
STANDING = _script("standing_1")
