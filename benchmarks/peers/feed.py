"""Submit jobs to a contender's queue: `python -m benchmarks.peers.feed APP`.

Reads one line of JSON, {"paths": [...], "first": 0, "pause": 0}, and prints one: the seconds taken
and the submission time of each job.
"""

from __future__ import annotations

import importlib
import json
import sys
import time


def main(app: str) -> None:
    """Submit the jobs described by the line on stdin."""
    module = importlib.import_module(f"benchmarks.peers.{app}")
    task = json.loads(sys.stdin.readline())
    started = time.perf_counter()
    times = module.fill(task["paths"], task["first"], task["pause"])
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "times": times}))  # noqa: T201  # its protocol


if __name__ == "__main__":
    main(sys.argv[1])
