"""visionq: questions about pictures, answered by a vision model; no job is ever lost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionq.errors import JobFailed, QueueUnavailable, WaitTimeout
    from visionq.sdk import AsyncClient, Client, Job

__all__ = ["AsyncClient", "Client", "Job", "JobFailed", "QueueUnavailable", "WaitTimeout"]

#: Where each name is found when it is first used: importing visionq alone costs nothing.
_HOMES = {
    "AsyncClient": "visionq.sdk",
    "Client": "visionq.sdk",
    "Job": "visionq.sdk",
    "JobFailed": "visionq.errors",
    "QueueUnavailable": "visionq.errors",
    "WaitTimeout": "visionq.errors",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # classes of several kinds
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
