"""Enters jobs in a contender's queue: `python -m benchmarks.peers.feed APP`, in its environment.

Reads one line of JSON, {"paths": [...], "first": 0, "pause": 0}, and prints one: the seconds that
it took, and when each job was entered.
"""

from __future__ import annotations

import importlib
import json
import sys
import time


def main(app: str) -> None:
    """Enter what the line on stdin says."""
    module = importlib.import_module(f"benchmarks.peers.{app}")
    task = json.loads(sys.stdin.readline())
    started = time.perf_counter()
    times = module.fill(task["paths"], task["first"], task["pause"])
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "times": times}))  # noqa: T201  # its protocol


if __name__ == "__main__":
    main(sys.argv[1])
