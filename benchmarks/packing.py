"""Memory of the packer: peak PSS of its worker while it packs, uploads and settles one batch.

Photos of 6 MP cost 30 ms of a core each, and 50,000 lines of them are a file of 55 GB. So only one
batch of 1,000 is of photos; the others are of small pictures whose lines are as long as those of a
photo that was scaled to 1,024 px: cheap to decode, and 10 GB in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import psutil
from PIL import Image

from benchmarks.comparison import progress
from benchmarks.pictures import encoded, photo_file
from benchmarks.tables import Cells, Table, goal, goals
from visionq import names
from visionq.devstack.redis_server import running_redis
from visionq.ledger.provider_batches import BatchRecord, done_batches, open_batches
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Lines of the batches: the first of photos, the others of small pictures.
_SIZES: Final = (1_000, 1_000, 10_000, 50_000)
_QUICK: Final = (100, 100, 1_000)
#: The most that the largest batch may need beyond the smallest of the same pictures.
_MOST_MORE_MB: Final = 16.0
#: Bytes of a small picture: in base64 a line of 190 KB.
_SENT: Final = 140_000
#: Different pictures of a batch; its questions differ.
_PICTURES: Final = 20
#: Limits of one batch that all of the lines fit into: the provider's own, 200 MB, holds fewer.
_LIMITS: Final = """
[limits]
lines = 50_000
bytes = 10_000_000_000
enqueued_tokens = 1_000_000_000_000
source = "the benchmark"
date = 2026-12-01
confirmed = false
"""
_COLUMNS: Final = (
    "lines", "pictures", "bytes of a line", "file, MB", "peak PSS, MB", "seconds",
)  # fmt: skip
#: Seconds without a line packed or settled after which it is given up.
_PATIENCE: Final = 600.0


def measure(*, quick: bool = False) -> list[Table]:
    """Return the peaks; the largest batch takes a quarter of an hour of one core."""
    sizes = _QUICK if quick else _SIZES
    rows: list[Cells] = []
    for number, size in enumerate(sizes):
        pictures = _photos() if number == 0 else _small_ones()
        batch, peak, seconds = _packed(size, pictures)
        line = batch.bytes // batch.lines
        what = "photos of 6 MP" if number == 0 else "small ones in long files"
        rows.append((batch.lines, what, line, batch.bytes / 1e6, peak, seconds))
        progress(f"  {rows[-1]}")
    more = [float(row[4] or 0) for row in rows[1:]]
    grown = goal(
        f"MB more for {sizes[-1]:,} lines than for {sizes[1]:,}",
        more[-1] - more[0],
        _MOST_MORE_MB,
        at_least=False,
    )
    note = (
        "One worker packs one batch of all jobs, uploads it, and settles the answers. The file is"
        " as long as that takes; the provider takes 200 MB at a time."
    )
    return [Table("packer", _COLUMNS, tuple(rows), note), goals("packer: goals", [grown])]


def _photos() -> list[bytes]:
    photo = photo_file(3000, 2000)
    return [photo + bytes([number]) for number in range(_PICTURES)]


def _small_ones() -> list[bytes]:
    """Return pictures that are sent as they are."""
    edge = 128
    while len(_noise(edge)) < _SENT:
        edge += 8
    return [_noise(edge) + bytes([number]) for number in range(_PICTURES)]


def _noise(edge: int) -> bytes:
    return encoded(Image.effect_noise((edge, edge), 90).convert("RGB"), "JPEG", quality=95)


def _packed(count: int, pictures: Sequence[bytes]) -> tuple[BatchRecord, float, float]:
    """Return a batch that answered jobs, the peak of PSS in MB, and seconds."""
    with (
        TemporaryDirectory(prefix="visionq-packing-") as folder,
        running_redis(Path(folder) / "redis") as server,
        _provider(Path(folder)) as address,
        Client(redis_url=server.url) as client,
    ):
        rows: Iterator[dict[str, Any]] = (
            {
                "prompt": f"What is it? ({number})",
                "images": [pictures[number % len(pictures)]],
                "lane": "batch",
                "priority": "bulk",
            }
            for number in range(count)
        )
        for _ in client.submit_many(rows):
            pass
        redis: Any = client._redis  # noqa: SLF001  # what the SDK does not show
        started = time.monotonic()
        with _worker(server.url, address, Path(folder)) as peak:
            _wait_until_all_ended(redis, count)
        seconds = time.monotonic() - started
        largest = max(done_batches(redis, 1000), key=lambda one: one.lines)
    return largest, peak.megabytes, seconds


def _wait_until_all_ended(redis: Any, count: int) -> None:  # noqa: ANN401  # redis-py's client
    until, before = time.monotonic() + _PATIENCE, (0, 0)
    while True:
        ended = sum(int(redis.hget(names.COUNTS, end) or 0) for end in ("completed", "failed"))
        if ended >= count:
            return
        now = (ended, sum(one.lines for one in open_batches(redis)))
        if now != before:
            until, before = time.monotonic() + _PATIENCE, now
        if time.monotonic() > until:
            raise RuntimeError(f"{ended} of {count} jobs have ended, and no more do")
        time.sleep(0.5)


@dataclass
class _Peak(threading.Thread):
    """Looks at the memory of a process and its children, twice a second."""

    process: psutil.Process
    megabytes: float = 0.0
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.stopped.wait(0.5):
            self.megabytes = max(self.megabytes, _pss(self.process) / 1e6)


def _pss(process: psutil.Process) -> int:
    found = 0
    for one in (process, *process.children(recursive=True)):
        try:
            found += one.memory_full_info().pss
        except psutil.Error:
            continue  # it has ended
    return found


@contextmanager
def _worker(redis_url: str, address: str, folder: Path) -> Iterator[_Peak]:
    limits = folder / "batches.toml"
    limits.write_text(_LIMITS)
    environment = {
        **os.environ,
        "VISIONQ_REDIS_URL": redis_url,
        "PROXYAPI_BASE_URL": address,
        "PROXYAPI_API_KEY": "packing",
        "VISIONQ_BATCHES_FILE": str(limits),
    }
    command = [sys.executable, "-m", "visionq.cli", "worker"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603  # our own program
    peak = _Peak(psutil.Process(process.pid))
    peak.start()
    try:
        yield peak
    finally:
        peak.stopped.set()
        peak.join()
        process.terminate()
        process.wait(60)


@contextmanager
def _provider(folder: Path) -> Iterator[str]:
    files = folder / "files"
    files.mkdir()
    command = [sys.executable, "-m", "benchmarks.batch_sink", str(files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own program
        assert process.stdout is not None  # noqa: S101  # for the type checker
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/openai/v1"
        finally:
            process.terminate()
