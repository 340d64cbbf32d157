"""Sizing of a fleet: jobs a second per core, memory of calls in flight, bytes in Redis.

`python -m benchmarks.sizing` measures and updates the table in the operations pages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import psutil

from benchmarks.comparison import load, machine
from benchmarks.pictures import photo_file
from benchmarks.tables import Cells, Table
from visionq import names
from visionq.devstack.redis_server import running_redis
from visionq.devstack.simulator.process import running_simulator
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

    from visionq.devstack.simulator.process import RunningSimulator

_SLOTS: Final = 128
#: Seconds allowed for each step, on a shared machine.
_PATIENCE: Final = 120.0
_LATENCY: Final = 15.0
_COLUMNS: Final = ("what", "found")
_MARK: Final = "<!-- sizing: python -m benchmarks.sizing -->"
_DOCS: Final = Path(__file__).parents[1] / "docs"
#: English row → row of the Russian page.
_RUSSIAN: Final = {
    "what": "что",
    "found": "измерено",
    "jobs a second for each core: photos of 6 MP": "заданий в секунду на ядро: фото 6 Мп",
    "jobs a second for each core: pictures that fit as they are": (
        "заданий в секунду на ядро: картинки, которые годятся как есть"
    ),
    "MB of a worker that has nothing to do": "МБ занимает воркер без работы",
    "MB more for 1,000 calls in flight, photos of 6 MP": (
        "МБ сверх того на 1000 вызовов в пути, фото 6 Мп"
    ),
    "Redis bytes a queued job, picture by URL": "байт Redis на задание в очереди, картинка по URL",
    "Redis bytes a completed job, its picture not counted": (
        "байт Redis на выполненное задание, не считая картинки"
    ),
}


def measure(*, quick: bool = False) -> list[Table]:
    """Return the figures after a minute or two; `quick` runs a tenth of the jobs."""
    count = 40 if quick else 400
    photos = [photo_file(3000, 2000) + bytes([n % 256, n // 256]) for n in range(count // 4)]
    small = [photo_file(640, 480) + bytes([n % 256, n // 256]) for n in range(count)]
    with (
        TemporaryDirectory(prefix="visionq-sizing-") as folder,
        running_redis(Path(folder) / "redis") as server,
        running_simulator() as simulator,
        Client(redis_url=server.url) as client,
    ):
        redis = client._redis  # noqa: SLF001  # the server's own figures
        queued = _bytes_queued(client, redis, 10 * count)
        with _worker(server.url, simulator, Path(folder)) as worker:
            _until(lambda: bool(redis.zcard(names.WORKERS)), "the worker")
            _run(client, small[:20])
            idle = worker.memory_info().rss / 1e6
            held = _megabytes_in_flight(client, simulator, worker, photos)
            light = _jobs_per_core(client, worker, small)
            finished = _bytes_ended(redis)
            heavy = _jobs_per_core(client, worker, photos)
    figures = (heavy, light, idle, held, queued, finished)
    rows: list[Cells] = list(zip(list(_RUSSIAN)[2:], figures, strict=True))
    note = (
        f"One worker of {_SLOTS} slots against the simulator; cores by processor time of the worker"
        " alone. A finished job is kept for `VISIONQ_RESULT_TTL`."
    )
    return [Table("sizing", _COLUMNS, tuple(rows), note)]


@contextmanager
def _worker(redis_url: str, simulator: RunningSimulator, folder: Path) -> Iterator[psutil.Process]:
    environment = {
        **os.environ,
        "VISIONQ_REDIS_URL": redis_url,
        "PROXYAPI_BASE_URL": simulator.provider_url,
        "PROXYAPI_API_KEY": "sizing",
    }
    command = [sys.executable, "-m", "visionq.cli", "worker", "--concurrency", str(_SLOTS)]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603  # our own program
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _run(client: Client, pictures: list[bytes]) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "What?", "images": [one]} for one in pictures]
    jobs = list(client.submit_many(rows))
    for _ in client.results(jobs, timeout=_PATIENCE):
        pass


def _jobs_per_core(client: Client, worker: psutil.Process, pictures: list[bytes]) -> float:
    before = sum(worker.cpu_times()[:2])
    _run(client, pictures)
    return len(pictures) / (sum(worker.cpu_times()[:2]) - before)


def _bytes_queued(client: Client, redis: Redis, count: int) -> float:
    """Return the bytes of a queued job; flush Redis afterwards."""
    rows = [
        {"prompt": "What?", "images": [f"https://example.com/pictures/{number:07}.jpg"]}
        for number in range(count)
    ]
    before = _used(redis)
    for _ in client.submit_many(rows):
        pass
    found = (_used(redis) - before) / count
    redis.flushall()
    return found


def _megabytes_in_flight(
    client: Client, simulator: RunningSimulator, worker: psutil.Process, pictures: list[bytes]
) -> float:
    """Return the MB that a thousand calls in flight add to the worker.

    Measured from a few calls to many, since the first ones also load code and caches.
    """
    few = len(pictures) // 5
    before = _bytes_while_out(client, simulator, worker, pictures[:few])
    after = _bytes_while_out(client, simulator, worker, pictures[few:])
    simulator.configure(latency_s=0)
    return (after - before) / (len(pictures) - 2 * few) * 1000 / 1e6


def _bytes_while_out(
    client: Client, simulator: RunningSimulator, worker: psutil.Process, pictures: list[bytes]
) -> int:
    simulator.configure(latency_s=_LATENCY)
    calls = simulator.bill()["calls"]
    rows: list[dict[str, Any]] = [
        {"prompt": "What else?", "images": [one], "reuse": "off"} for one in pictures
    ]
    jobs = list(client.submit_many(rows))
    _until(lambda: simulator.bill()["calls"] - calls >= len(rows), "the calls to be in flight")
    found = int(worker.memory_info().rss)
    for _ in client.results(jobs, timeout=_PATIENCE):
        pass
    return found


def _used(redis: Redis) -> int:
    """Return the bytes that the server uses."""
    memory: Any = redis.info("memory")
    return int(memory["used_memory"])


def _bytes_ended(redis: Redis) -> float:
    """Return the bytes of a completed job's keys: its record and its result."""
    ids: Any = redis.zrange(names.FINISHED, 0, 99)
    sizes = [
        int(redis.memory_usage(prefix + job_id.decode(), samples=0) or 0)
        for job_id in ids
        for prefix in (names.JOB, names.CELERY_RESULT)
    ]
    return sum(sizes) / len(ids)


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"timed out after {_PATIENCE:g} s waiting for {what}")
        time.sleep(0.1)


def in_russian(table: Table) -> Table:
    """Return the table for the Russian page."""
    columns = tuple(_RUSSIAN[column] for column in table.columns)
    return Table(
        table.title, columns, tuple((_RUSSIAN[str(row[0])], *row[1:]) for row in table.rows)
    )


def page_with(page: str, table: Table, about: str) -> str:
    """Return the page with the table between its markers."""
    before, _, after = page.split(_MARK)
    lines = table.to_markdown().split("\n")[2 : 4 + len(table.rows)]
    return f"{before}{_MARK}\n\n" + "\n".join(lines) + f"\n\n*{about}*\n\n{_MARK}{after}"


def main() -> None:
    """Measure and update both pages."""
    found, facts = measure()[0], machine()
    about = f"{facts['date']}, Python {facts['Python']}, {facts['cores']} cores, load {load()}"
    for name, table in (("operations.md", found), ("operations.ru.md", in_russian(found))):
        page = _DOCS / name
        page.write_text(page_with(page.read_text("utf-8"), table, about), "utf-8")
    print(found.to_markdown())  # noqa: T201  # a program for the terminal


if __name__ == "__main__":
    main()
