"""Bulk runs: memory and speed over many rows, and submission compared with plain Celery.

`VISIONQ_BENCH_ROWS` sets the number of rows (default 5,000; 200,000 show that nothing grows).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from celery import Celery

from benchmarks.tables import Table
from producer.prompts import Prompt
from producer.run.feeder import MOST_JOBS, Submitter
from producer.run.plan import Question
from producer.sources import Row
from tests.chaos.bulk_run import Lines, command, make_pictures
from tests.support.fleet import running_fleet
from visionq.devstack.redis_server import running_redis
from visionq.ledger import Ledger
from visionq.names import QUEUE_INTAKE, TASK_ANALYZE
from visionq.redis_connection import connect
from visionq.settings import load_settings

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

ROWS: Final = int(os.environ.get("VISIONQ_BENCH_ROWS", "5000"))
_LOOKS: Final = 10
_SUBMITTED: Final = 2_000
_QUESTION: Final = Question(Prompt("What?"), {"model": "gpt-6-luna"})
#: Reusable answers are kept on purpose, and would hide any other growth.
_NO_ANSWERS: Final = {"VISIONQ_ANSWER_TTL": "0"}


def measure() -> list[Table]:
    """Run both and return their tables."""
    with tempfile.TemporaryDirectory(prefix="visionq-bench-") as folder:
        return [_memory(Path(folder)), _submission(Path(folder) / "redis")]


def _memory(folder: Path) -> Table:
    make_pictures(folder / "pictures", ROWS)
    out, rows = folder / "out.jsonl", []
    with running_fleet(folder, workers=2, concurrency=32, extra=_NO_ANSWERS) as fleet:
        environment = {**os.environ, "VISIONQ_REDIS_URL": fleet.server.url}
        began = time.monotonic()
        with (folder / "log").open("wb") as log:
            run = subprocess.Popen(command(folder, out), env=environment, stdout=log, stderr=log)  # noqa: S603  # our own command
        process, written = psutil.Process(run.pid), Lines(out)
        for look in range(1, _LOOKS + 1):
            while run.poll() is None and written.count() < ROWS * look // (_LOOKS + 1):
                time.sleep(0.1)
            if run.poll() is None:
                resident = process.memory_info().rss / 1e6
                rows.append((written.count(), resident, _redis_megabytes(fleet)))
                print(*rows[-1], file=sys.stderr, flush=True)  # noqa: T201  # progress: this can take hours
        if run.wait() != 0:
            sys.exit((folder / "log").read_text("utf-8"))
        seconds = time.monotonic() - began
    note = f"{ROWS:,} pictures in {seconds:.0f} s: {ROWS / seconds:.0f} a second, quote included."
    return Table("Memory of a run", ("rows in OUT", "run, MB", "Redis, MB"), tuple(rows), note)


def _redis_megabytes(fleet: Fleet) -> float:
    info: Any = fleet.redis.info("memory")
    return float(info["used_memory"]) / 1e6


def _submission(folder: Path) -> Table:
    with running_redis(folder) as server:
        redis = connect(server.url, "visionq-bench")
        with redis:
            settings = load_settings()
            submitter = Submitter(Ledger(redis), redis, settings)
            began = time.perf_counter()
            for first in range(1, _SUBMITTED, MOST_JOBS):
                rows = [_row(number) for number in range(first, first + MOST_JOBS)]
                submitter.submit([_QUESTION.draft(one, settings, "run", 1) for one in rows])
            pipelined = _SUBMITTED / (time.perf_counter() - began)
        with Celery(broker=server.url) as app:
            fields = {"prompt": "What?", "images": [{"url": "https://example.com/a.png"}]}
            app.send_task(TASK_ANALYZE, kwargs=fields, queue=QUEUE_INTAKE)
            began = time.perf_counter()
            for _ in range(_SUBMITTED):
                app.send_task(TASK_ANALYZE, kwargs=fields, queue=QUEUE_INTAKE)
            single = _SUBMITTED / (time.perf_counter() - began)
    found = (
        ("by a bulk run, validated and entered in the ledger", pipelined, pipelined / single),
        ("one `apply_async` after another", single, 1.0),
    )
    return Table("Jobs submitted, pictures by address", ("way", "a second", "times"), found)


def _row(number: int) -> Row:
    return Row(number, str(number), (f"https://example.com/{number}.png",))
