"""A worker's insides put together by hand: real Redis, a real simulator over HTTP, no Celery."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tests.support.awaited import InThreads
from tests.support.ledger import BOTH
from tests.support.worker_ledger import WorkerLedger
from visionq.blobs import open_blobs
from visionq.ledger import (
    Completed,
    Failed,
    LedgerOptions,
    NewJob,
    Registration,
    Submitted,
)
from visionq.ledger.views import job_views
from visionq.pricing.money import nano_rubles
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.settings import Settings
from visionq.submission import defaulted, prepare
from worker.event_loop import EventLoop
from worker.fetch import Fetcher, FetchPolicy
from worker.images import DecodeSlots, ImageLimits
from worker.pipeline import Dependencies
from worker.provider.provider_client import make_async_client
from worker.threads.heartbeat import Leases
from worker.threads.statistics import StatisticsWriter
from worker.work import Stale, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from redis import Redis

    from visionq.contract import ErrorDocument, JobView, ResultDocument
    from visionq.devstack.simulator import RunningSimulator
    from visionq.ledger import Hint, Outcome

_numbers = itertools.count(1)


class Parts:
    """What a test puts together of a worker, and what became of its jobs."""

    redis: Redis
    loop: EventLoop
    dependencies: Dependencies

    def close(self) -> None:
        self.loop.stop(self.dependencies.client.close)
        self.dependencies.decode_slots.close()
        self.dependencies.isolated_decoder.close()
        self.dependencies.fetcher.close()

    def view(self, job_id: str) -> JobView:
        (view,) = job_views(self.redis, [job_id])
        assert view is not None
        return view

    def money(self) -> dict[str, int]:
        stored: Any = self.redis.hgetall("visionq:money")
        return {name.decode(): int(amount) for name, amount in stored.items() if int(amount)}


def dependencies_of(
    settings: Settings, ledger: Callable[[], Any], blobs: Callable[[], Any], **changes: Any
) -> Dependencies:
    """Return a worker's, with a ledger and blobs that block, and that tests may replace."""
    in_threads: Any = (InThreads(ledger), InThreads(blobs))
    parts: dict[str, Any] = {
        "settings": settings,
        "ledger": in_threads[0],
        "statistics": StatisticsWriter(ledger()),
        "blobs": in_threads[1],
        "fetcher": Fetcher(FetchPolicy(allow_private=settings.allow_private_urls)),
        "client": make_async_client(settings),
        "prices": load_prices(),
        "rules": load_rules(),
        "limits": ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        "decode_slots": DecodeSlots(1),
        "monotonic": time.monotonic,
        "random": random.Random(7).random,
        "sleep": asyncio.sleep,
    }
    return Dependencies(**{**parts, **changes})


@dataclass
class Bench(Parts):
    """One worker that works on a job when asked."""

    redis: Redis
    simulator: RunningSimulator
    options: LedgerOptions = field(default_factory=LedgerOptions)
    changes: dict[str, Any] = field(default_factory=dict)
    others: list[Bench] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = Settings(
            api_key=SecretStr("sk-canary-key-4242"),
            redis_url=SecretStr("redis://unused"),
            **{
                "base_url": self.simulator.provider_url,
                "request_timeout": 5,
                "allow_private_urls": True,
                **self.changes,
            },
        )
        self.ledger = WorkerLedger(self.redis, self.options)
        self.blobs = open_blobs(self.settings, self.redis)
        self.dependencies = dependencies_of(self.settings, lambda: self.ledger, lambda: self.blobs)
        self.loop = EventLoop(32)
        self.loop.start()
        self.leases = Leases()
        self.here = Registration("w1", 99, BOTH)

    def close(self) -> None:
        super().close()
        for other in self.others:
            other.close()

    def with_settings(self, **changes: Any) -> Bench:
        """Return another worker, which is closed with this one."""
        self.others.append(Bench(self.redis, self.simulator, self.options, changes))
        return self.others[-1]

    def submit(self, *pictures: bytes | str, **fields: Any) -> str:
        """Enter a job with these pictures, bytes or addresses; returns its id."""
        job_id = str(fields.pop("job_id", f"job-{next(_numbers)}"))
        names = fields.pop("names", [None] * len(pictures))
        images = []
        for given, name in zip(pictures, names, strict=True):
            if isinstance(given, str):
                images.append({"url": given, "name": name})
            else:
                (sha,) = self.blobs.put([given])
                images.append({"blob": sha, "name": name})
        fields = {"prompt": "What?", "images": images, **fields}
        job = NewJob(job_id, prepare(fields, self.settings), defaulted=defaulted(fields))
        (reply,) = self.ledger.submit([job])
        assert isinstance(reply, Submitted), reply
        return job_id

    def run(self, job_id: str) -> Outcome | Stale:
        """Dispatch until the job is hinted, and work on it."""
        self.hint(job_id)
        outcome = self.work(job_id)
        self.dependencies.statistics.flush()
        return outcome

    def work(self, job_id: str) -> Outcome | Stale:
        """Work on a job that was hinted, in the loop; from any other thread."""
        return self.loop.run(work(job_id, self.dependencies, self.leases, self.here))

    def hint(self, job_id: str) -> None:
        self.ledger.renew(self.here)
        end = time.monotonic() + 10
        while self.redis.hget(f"visionq:job:{job_id}", "state") != b"hinted":
            assert time.monotonic() < end, "the job is never hinted"
            self.ledger.dispatch()

    def answer(self, *pictures: bytes | str, **fields: Any) -> ResultDocument:
        return result(self.run(self.submit(*pictures, **fields)))

    def failure(self, *pictures: bytes | str, **fields: Any) -> ErrorDocument:
        outcome = self.run(self.submit(*pictures, **fields))
        assert isinstance(outcome, Failed), outcome
        return outcome.error

    def is_booked(self) -> bool:
        """Return whether the books are the simulator's bill."""
        billed = nano_rubles(Decimal(self.simulator.bill()["rub"]))
        return self.money().get("settled", 0) == billed

    def replaced(self, **parts: Any) -> None:
        self.dependencies = replace(self.dependencies, **parts)


def result(outcome: Outcome | Stale) -> ResultDocument:
    assert isinstance(outcome, Completed), outcome
    return outcome.result


@dataclass
class Recorder:
    """Stands for the broker: keeps the hints that are published, and when."""

    hints: deque[tuple[float, Hint]] = field(default_factory=deque)
    error: Exception | None = None

    def publish(self, hints: Any) -> None:
        if self.error is not None:
            raise self.error
        self.hints.extend((time.monotonic(), hint) for hint in hints)

    def ids(self) -> list[str]:
        return [hint.id for _, hint in self.hints]


@contextmanager
def served(pages: Mapping[str, bytes]) -> Iterator[str]:
    """Serve pages on loopback; anything else is a 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
