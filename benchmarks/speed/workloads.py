"""Workloads that contenders are compared by."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image

from benchmarks.peers.arena import Workload
from benchmarks.pictures import encoded, photo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def tiny(number: int) -> bytes:
    """Return a picture that takes next to no work; numbers below 256 give distinct ones."""
    return encoded(Image.new("RGB", (64, 64), (number % 256, 90, 200)), "PNG")


#: Name → (picture by number, pictures, jobs, provider's latency in seconds). Each run takes about
#: ten seconds on two quiet cores, since there are over a hundred runs.
_KINDS: Final[dict[str, tuple[Callable[[int], bytes], int, int, float]]] = {
    "full": (lambda _: encoded(photo(3000, 2000), "JPEG", quality=88), 8, 200, 1.0),
    "small": (lambda _: encoded(photo(800, 600), "JPEG", quality=85), 16, 640, 1.0),
    "overhead": (tiny, 64, 1200, 0.0),
    # CPU-bound: a latency would leave cores idle until the last answers.
    "cores": (lambda _: encoded(photo(3000, 2000), "JPEG", quality=88), 8, 400, 0.0),
    "repeat": (lambda _: encoded(photo(3000, 2000), "JPEG", quality=88), 1, 300, 1.0),
}


@contextmanager
def workload(kind: str, *, quick: bool) -> Iterator[Workload]:
    """Create the pictures of a workload for the duration of the block."""
    draw, pictures, jobs, latency = _KINDS[kind]
    with tempfile.TemporaryDirectory(prefix="visionq-pictures-") as folder:
        paths = []
        for number in range(pictures):
            path = Path(folder) / f"{number}.bin"
            path.write_bytes(draw(number))
            paths.append(str(path))
        warming = Path(folder) / "warming.bin"
        warming.write_bytes(tiny(0))
        jobs = jobs // 3 if quick else jobs
        made = Workload(kind, tuple(paths), jobs, latency, str(warming))
        # Nine of ten questions are repeats.
        yield replace(made, questions=made.jobs // 10) if kind == "repeat" else made
