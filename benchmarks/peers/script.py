"""No queue at all: fifty lines of asyncio, in as many processes as the machine has cores.

For each line of JSON, {"paths": [...], "first": 0}, it prints a line when all jobs are done.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from benchmarks.peers.work import do_async, make_async_client


async def main() -> None:
    """Run the jobs of each line on stdin, `BENCH_CONCURRENCY` at a time."""
    client = make_async_client()
    places = asyncio.Semaphore(int(os.environ["BENCH_CONCURRENCY"]))

    async def one(path: str, number: int) -> None:
        async with places:
            await do_async(client, path, number)

    # stdin closes when the benchmark ends.
    while line := await asyncio.to_thread(sys.stdin.readline):
        task = json.loads(line)
        await asyncio.gather(*(one(path, n) for n, path in enumerate(task["paths"], task["first"])))
        print("done", flush=True)  # noqa: T201  # its protocol


if __name__ == "__main__":
    asyncio.run(main())
