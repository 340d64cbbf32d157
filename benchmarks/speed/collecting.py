"""Stored results that one client collects per second."""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redis import Redis

from benchmarks.tables import Table, goal, goals
from visionq.contract import Api, ImageReport, ResultDocument, Usage
from visionq.devstack.redis_server import running_redis
from visionq.ledger import celery_results
from visionq.names import CELERY_RESULT
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

_RESULTS: Final = 100_000
_AT_ONCE: Final = 1_000


def measure(*, quick: bool = False) -> list[Table]:
    """Return results per second, with the goal."""
    job_ids = [str(uuid.uuid4()) for _ in range(_RESULTS // 5 if quick else _RESULTS)]
    with (
        tempfile.TemporaryDirectory(prefix="visionq-bench-") as folder,
        running_redis(Path(folder)) as server,
        Redis.from_url(server.url) as redis,
        Client(redis_url=server.url) as client,
    ):
        _store(redis, job_ids)
        rates, costs = [], []
        for _ in range(5):
            started, used = time.perf_counter(), time.process_time()
            collected = sum(1 for _ in client.results(job_ids, timeout=600))
            rates.append(collected / (time.perf_counter() - started))
            costs.append((time.process_time() - used) / collected * 1e6)
    row = (statistics.median(rates), min(rates), max(rates), statistics.median(costs))
    reached = goal("collect: stored results a second", row[0], 30_000, at_least=True)
    columns = ("results/s", "lowest", "highest", "CPU µs a result")
    return [
        Table(f"collect: {len(job_ids):,} stored results", columns, (row,)),
        goals("collect: goals", [reached]),
    ]


def _store(redis: Redis, job_ids: Sequence[str]) -> None:
    result = ResultDocument(
        id="job",
        tenant="default",
        model="gpt-6-luna",
        api=Api.RESPONSES,
        text="Серый квадрат на белом поле.",
        usage=Usage(input_tokens=100, output_tokens=10),
        cost_rub=Decimal("0.0123"),
        attempts=1,
        images=(ImageReport(name="photo.jpg", sha256="0" * 64),),
        timings_ms={"load": 1.2, "encode": 3.4, "ask": 1000.5},
        finished_at=datetime.now(UTC),
    )
    for start in range(0, len(job_ids), _AT_ONCE):
        with redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids[start : start + _AT_ONCE]:
                own = result.model_copy(update={"id": job_id})
                stored = celery_results.success(job_id, own.to_json(), time.time())
                pipeline.set(CELERY_RESULT + job_id, stored)
            pipeline.execute()
