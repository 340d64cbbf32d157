"""visionq: questions about pictures, answered by a vision model; no job is ever lost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionq.errors import JobFailed, QueueUnavailable, WaitTimeout
    from visionq.frames import map_frame, quote_frame
    from visionq.sdk import AsyncClient, Client, Job

    map = map_frame  # noqa: A001  # beside Python's own, as in every library of frames
    quote = quote_frame

# Without `map`: a star would put it in the place of Python's own.
__all__ = ["AsyncClient", "Client", "Job", "JobFailed", "QueueUnavailable", "WaitTimeout"]

#: Where each name is found when it is first used: importing visionq alone costs nothing.
_HOMES = {
    "AsyncClient": "visionq.sdk",
    "Client": "visionq.sdk",
    "Job": "visionq.sdk",
    "JobFailed": "visionq.errors",
    "QueueUnavailable": "visionq.errors",
    "WaitTimeout": "visionq.errors",
    "map": "visionq.frames",
    "quote": "visionq.frames",
}
_NAMES_THERE = {"map": "map_frame", "quote": "quote_frame"}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # classes of several kinds
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(home), _NAMES_THERE.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
