"""visionq through its SDK."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.work import MODEL, prompt
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[float]:
    """Submit one job per path, `pause` seconds apart; return the submission times."""
    times = []

    def drafts() -> Iterator[dict[str, Any]]:
        for number, path in enumerate(paths, first):
            times.append(time.time())
            yield job(path, number)

    with Client(redis_url=os.environ["BENCH_REDIS"]) as client:
        if not pause:
            for _ in client.submit_many(drafts()):
                pass
            return times
        for draft in drafts():
            client.submit(**draft)
            time.sleep(pause)
    return times


def job(path: str, number: int) -> dict[str, Any]:
    """Return the job for a path."""
    return {
        "prompt": prompt(number),
        "images": [path if path.startswith("https:") else Path(path)],
        "model": MODEL,
        "max_output_tokens": 300,
        "priority": "bulk",
    }
