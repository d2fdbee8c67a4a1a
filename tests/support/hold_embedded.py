"""A gateway reduced to its private servers: prints their addresses as JSON and waits to be killed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path

from gateway.embedded import Embedded


async def main(data: Path) -> None:
    endpoints = await Embedded(data).start()
    sys.stdout.write(json.dumps(dataclasses.asdict(endpoints)) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
