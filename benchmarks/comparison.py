"""Fair figures on a shared machine: alternatives run in turns and are compared by medians."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import PIL
from PIL import features

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_STATUS: Final = Path("/proc/self/status")


def machine() -> dict[str, str]:
    """Return the versions and hardware that the figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        **{name: version(name) for name in ("celery", "redis", "openai")},
        "Python": platform.python_version(),
        "Pillow": PIL.__version__,
        "libjpeg-turbo": features.version("libjpeg_turbo") or "unknown",
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
    }


def load() -> str:
    """Return the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def progress(text: str) -> None:
    """Print progress to stderr; stdout is for figures."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # programs for the terminal


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of CPU time for each way and round.

    Every round runs each way once, in rotating order, so that anything that slows the machine
    slows all of them. CPU time, since other processes distort wall time.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for way in ways.values():
        way()  # warms caches, allocators and imports
    for _ in range(rounds):
        for name in order:
            started = time.process_time()
            ways[name]()
            taken[name].append((time.process_time() - started) * 1000)
        order.append(order.pop(0))
    return taken


def median_ratio(of: list[float], to: list[float]) -> float:
    """Return the median of the ratios of each round."""
    return statistics.median(one / other for one, other in zip(of, to, strict=True))


def peak_megabytes(way: Callable[[], object]) -> float | None:
    """Return the increase of peak resident memory in MB, or None outside Linux."""
    if not _STATUS.exists():
        return None
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = _resident("VmRSS")
    way()
    return (_resident("VmHWM") - before) / 1024


def _resident(field: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])
