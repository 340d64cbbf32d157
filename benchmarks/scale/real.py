"""Real small fleets: their rate, and the cost of a job to each component."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from tests.support.fleet import Fleet, running_fleet
from tests.support.pictures import picture
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds until the provider answers.
LATENCY: Final = 0.1
#: Threads of all workers.
THREADS: Final = 64
_SETTLING: Final = 10.0
_SECONDS: Final = 20.0
#: More jobs a second than any fleet here reaches.
_MOST: Final = 400


@dataclass(frozen=True)
class Real:
    """Rate of a fleet, and CPU seconds per job."""

    jobs_per_second: float
    worker: float
    redis: float
    provider: float
    #: Percent of calls.
    refused: float

    @property
    def redis_busy(self) -> float:
        """CPU use of Redis in percent of a core."""
        return self.redis * self.jobs_per_second * 100


@contextmanager
def fleet_of(workers: int, limit: float) -> Iterator[Fleet]:
    """Run a fleet at a limit of requests a minute (0: none) inside the block."""
    model = Settings.model_fields["default_model"].default
    limits = json.dumps({model: {"requests_per_minute": limit}})
    with (
        tempfile.TemporaryDirectory(prefix="visionq-scale-") as folder,
        running_fleet(
            Path(folder),
            workers=workers,
            concurrency=THREADS // workers,
            extra={"VISIONQ_LOG_LEVEL": "WARNING"} | ({"VISIONQ_LIMITS": limits} if limit else {}),
        ) as fleet,
    ):
        fleet.simulator.configure(latency_s=LATENCY, requests_per_minute=limit or None)
        yield fleet


def measured(fleet: Fleet, limit: float) -> Real:
    """Measure a fleet for some seconds while it works through a backlog."""
    rate = limit / 60 if limit else _MOST
    _submit(fleet, round(rate * (_SETTLING + _SECONDS) * 1.2))
    time.sleep(_SETTLING)
    before, used, started = fleet.simulator.bill(), _processor_seconds(fleet), time.monotonic()
    time.sleep(_SECONDS)
    seconds = time.monotonic() - started
    after, spent = fleet.simulator.bill(), _processor_seconds(fleet)
    if fleet.counts().get("queued", 0) == 0 and not limit:
        raise RuntimeError("the backlog ran out: the machine is faster than assumed")
    billed, calls = after["billed"] - before["billed"], after["calls"] - before["calls"]
    worker, redis, provider = (
        (late - early) / billed for early, late in zip(used, spent, strict=True)
    )
    return Real(
        jobs_per_second=billed / seconds,
        worker=worker,
        redis=redis,
        provider=provider,
        refused=(calls - billed) * 100 / calls,
    )


def _submit(fleet: Fleet, count: int) -> None:
    """Submit equal jobs without reuse: one picture is enough."""
    image = picture(1)
    job = {"prompt": "Что изображено?", "images": [image], "reuse": "off", "max_output_tokens": 64}
    for _ in fleet.client.submit_many(dict(job) for _ in range(count)):
        pass


def _processor_seconds(fleet: Fleet) -> tuple[float, float, float]:
    """Return the CPU seconds of workers, Redis and provider so far."""
    groups = ([one.pid for one in fleet.workers], [fleet.server.pid], [fleet.simulator.pid])
    workers, redis, provider = (sum(_used(pid) for pid in pids) for pids in groups)
    return workers, redis, provider


def _used(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
