"""Plain Celery, as tutorials write it: prefork, and the picture in the message."""

from __future__ import annotations

import base64
import os
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery

from benchmarks.peers.work import answer_of, encoded, make_client, question

if TYPE_CHECKING:
    from collections.abc import Sequence


app = Celery("tutorial", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
client = cache(make_client)


@app.task
def analyze(picture: str, number: int) -> dict[str, Any]:
    """Ask about the picture in the message."""
    data = base64.b64decode(picture)
    return answer_of(client().responses.create(**question(encoded(data), number)))


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[float]:
    """Submit one job per path, `pause` seconds apart; return the submission times."""
    times = []
    for number, path in enumerate(paths, first):
        times.append(time.time())
        analyze.delay(base64.b64encode(Path(path).read_bytes()).decode(), number)
        time.sleep(pause)
    return times
