"""What `tools/venv.sh` asks each Python that it finds: ``python tools/interpreter.py NEWEST`` (e.g. ``3.12``).

Prints the milliseconds of CPU that some work like a gateway's takes, the version and the path, separated by tabs.
Ends with 1 if this Python is of a version that is not supported, or lacks what makes virtual environments.

The work is timed because nothing else tells: how an interpreter was configured says nothing of what a distribution
did beside it, and one that was built without profile-guided optimization takes half as long again for a request.
"""

import ensurepip  # noqa: F401  # with Debian it is in a package of its own, and may be missing
import sys
import time
import venv  # noqa: F401

OLDEST = (3, 11)
ROUNDS = 15
CALLS = 8_000


class Item:
    def __init__(self, name, count):
        self.name = name
        self.count = count

    def line(self, prefix):
        return f"{prefix}{self.name}: {self.count}"


def work():
    seen = {}
    for number in range(CALLS):
        item = Item("name", number)
        key = item.line("x-")
        seen[key] = [part.strip() for part in key.split(":")]
        if len(seen) > 100:
            seen.clear()


def main():
    newest = tuple(int(part) for part in sys.argv[1].split("."))
    if not OLDEST <= sys.version_info[:2] <= newest:
        return 1
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    version = ".".join(str(part) for part in sys.version_info[:3])
    sys.stdout.write(f"{min(taken) * 1000:.1f}\t{version}\t{sys.executable}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
