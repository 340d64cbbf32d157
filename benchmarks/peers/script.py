"""No queue at all: fifty lines of asyncio, in as many processes as the machine has cores.

It reads one line of JSON, {"paths": [...], "first": 0}, and answers with one, when all is done.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from benchmarks.peers.work import do_async, make_async_client


async def main() -> None:
    """Do what the line on stdin says, so many jobs at a time as `BENCH_CONCURRENCY`."""
    client = make_async_client()
    places = asyncio.Semaphore(int(os.environ["BENCH_CONCURRENCY"]))
    print("ready", flush=True)  # noqa: T201  # its protocol
    task = json.loads(await asyncio.to_thread(sys.stdin.readline))

    async def one(path: str, number: int) -> None:
        async with places:
            await do_async(client, path, number)

    await asyncio.gather(*(one(path, n) for n, path in enumerate(task["paths"], task["first"])))
    print("done", flush=True)  # noqa: T201  # its protocol
    await asyncio.to_thread(sys.stdin.readline)  # whoever measures it ends it


if __name__ == "__main__":
    asyncio.run(main())
