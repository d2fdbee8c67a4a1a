"""Becomes a database server: a script that prepares its own process and then executes the server.

It exists because the preparation must happen between fork and exec, where running Python inside the gateway's
own forked copy is unsafe as soon as the gateway has threads. It imports nothing of the gateway, so that it
starts in a few milliseconds, and does, in this order:

1. take an exclusive lock on a file and write its pid there. The server and all of its children inherit the
   lock, so the lock is free exactly when none of them lives, whatever killed the others;
2. if told an account, become that account for good (Postgres refuses to run as root). The user's directories
   stay as they are: where one above the data or the program is closed to that account, a single capability
   that lets it pass is kept, and nothing else of root;
3. ask the kernel for a signal when the gateway dies (Linux), and look whether it has died already.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import sys

# linux/prctl.h, linux/securebits.h, linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilityData(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def main() -> None:
    """Prepare this process as the arguments say and become the server; returns never."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", required=True, help="file locked for as long as the server lives")
    parser.add_argument("--parent", type=int, required=True, help="pid of the gateway")
    parser.add_argument(
        "--death-signal", type=int, required=True, help="sent to the server when the gateway dies"
    )
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--pass-closed-directories", action="store_true")
    parser.add_argument("program", nargs="+")
    arguments = parser.parse_args()

    _take_lock(arguments.lock)
    if arguments.uid is not None:
        _become(arguments.uid, arguments.gid, arguments.pass_closed_directories)
    if sys.platform == "linux":
        # After the change of account: the kernel forgets the wish when credentials change.
        _prctl(PR_SET_PDEATHSIG, arguments.death_signal)
    if os.getppid() != arguments.parent:
        sys.exit("the gateway ended while its server was starting")
    os.execv(arguments.program[0], arguments.program)  # noqa: S606 - no shell is wanted


def _take_lock(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{path} is locked: another server still runs on this data")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())


def _become(uid: int, gid: int, pass_closed_directories: bool) -> None:
    kept = _passing_capability() if pass_closed_directories else None
    if kept is not None:
        # access(2) ignores the capabilities of a process that is not root unless this bit is set, and
        # Postgres looks for its own program with access(2).
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
        _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if kept is not None:
        _keep_only(kept)


def _passing_capability() -> int:
    """The smaller of the two capabilities that open closed directories, as far as this process has it."""
    permitted = _read_capabilities()[0].permitted
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if permitted & (1 << capability):
            return capability
    sys.exit(
        "the data or the server's program is below a directory that only root may enter, and this container "
        "lets nobody else pass. Use --data with a directory that everybody may enter, or do not run as root"
    )


def _keep_only(capability: int) -> None:
    mask = 1 << capability
    sets = (_CapabilityData * 2)()
    sets[0] = _CapabilityData(effective=mask, permitted=mask, inheritable=mask)
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    if _libc().capset(ctypes.byref(header), ctypes.byref(sets)) != 0:
        _fail("capset")
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _read_capabilities() -> ctypes.Array[_CapabilityData]:
    sets = (_CapabilityData * 2)()
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    if _libc().capget(ctypes.byref(header), ctypes.byref(sets)) != 0:
        _fail("capget")
    return sets


def _prctl(option: int, value: int, third: int = 0) -> None:
    arguments = [ctypes.c_ulong(number) for number in (value, third, 0, 0)]
    if _libc().prctl(option, *arguments) != 0:
        _fail(f"prctl({option})")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _fail(call: str) -> None:
    error = ctypes.get_errno()
    raise OSError(error, f"{call}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
