"""A fleet of real processes for tests: one Redis, one simulator, any number of workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from tests.support.warm_processes import WarmProcess, running_simulator
from visionq import names
from visionq.devstack.redis_server import RedisServer, running_redis
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from visionq.devstack.simulator.process import RunningSimulator


class WorkerProcess(Protocol):
    """What tests do to a worker: a `subprocess.Popen` can do it all."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Fleet:
    server: RedisServer
    simulator: RunningSimulator
    client: Client
    logs: Path
    concurrency: int
    extra: dict[str, str]
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def redis(self) -> Redis:
        """The client's own connections to the ledger."""
        return self.client._redis

    def start_workers(self, count: int) -> None:
        before = set(self.registered())

        def new() -> int:  # those who died before may lapse meanwhile
            return len(set(self.registered()) - before)

        for _ in range(count):
            self.workers.append(self._start_worker(len(self.workers)))
        # Four at once take a minute to start where many others are at work.
        until(
            lambda: new() >= count,
            max(120, 30 * count),
            lambda: f"{count} workers registered; there are {new()}",
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of a process of this fleet."""
        return {
            **os.environ,
            "VISIONQ_REDIS_URL": self.server.url,
            "PROXYAPI_BASE_URL": self.simulator.provider_url,
            "PROXYAPI_API_KEY": "test-key",
            "VISIONQ_ALLOW_PRIVATE_URLS": "1",
            **self.extra,
        }

    def visionq(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command as an operator of this fleet does."""
        cold = (sys.executable, "-m", "visionq.cli")
        program = cold if "PYTHONPATH" in self.extra else (warm_visionq(),)
        return subprocess.run(
            [*program, *map(str, words)],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def read(self, *words: object) -> Any:
        """Run a command that succeeds; return what it prints as JSON."""
        done = self.visionq(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _start_worker(self, number: int, program: tuple[str, ...] = ()) -> WorkerProcess:
        path = self.logs / f"worker-{number}.log"
        # What PYTHONPATH changes must be imported again.
        if not program and "PYTHONPATH" not in self.extra:
            return WarmProcess(self._worker_arguments(number), self.environment(), path)
        command = [*(program or ("-m", "visionq.cli")), *self._worker_arguments(number)]
        with path.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *command], env=self.environment(), stdout=log, stderr=log
            )

    def _worker_arguments(self, number: int) -> list[str]:
        name = f"visionq-worker-{number}"
        return ["worker", "--name", name, "--concurrency", str(self.concurrency)]

    def registered(self) -> list[bytes]:
        return self.redis.zrange(names.WORKERS, 0, -1)  # type: ignore[return-value]

    def counts(self) -> dict[str, int]:
        counts: dict[bytes, bytes] = self.redis.hgetall(names.COUNTS)  # type: ignore[assignment]
        return {state.decode(): int(count) for state, count in counts.items() if int(count)}

    def money(self) -> dict[str, int]:
        money: dict[bytes, bytes] = self.redis.hgetall(names.MONEY)  # type: ignore[assignment]
        return {name.decode(): int(amount) for name, amount in money.items()}

    def wait_for_counts(self, seconds: float, **wanted: int) -> None:
        until(lambda: self.counts() == wanted, seconds, lambda: f"{self.counts()} to be {wanted}")

    def stop(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@contextmanager
def running_fleet(
    folder: Path, *, workers: int, concurrency: int = 16, extra: dict[str, str] | None = None
) -> Iterator[Fleet]:
    with (
        running_redis(folder / "redis") as server,
        running_simulator(folder / "simulator.log") as simulator,
        Client(redis_url=server.url) as client,
    ):
        fleet = Fleet(server, simulator, client, folder, concurrency, extra or {})
        try:
            fleet.start_workers(workers)
            yield fleet
        finally:
            fleet.stop()


def jobs(count: int, first: int = 0, **options: Any) -> Iterator[dict[str, Any]]:
    for number in range(first, first + count):
        yield {"prompt": "Что изображено?", "images": [picture(number)], **options}
