"""The process itself: a task comes on stdin, pickled, and its result leaves on stdout."""

from __future__ import annotations

import os
import pickle
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import VisionqError
from visionq.settings import load_settings
from worker.alone.process import READY, SECONDS
from worker.alone.task import prepare
from worker.detectors import load_detectors

if TYPE_CHECKING:
    from worker.alone.task import Task

#: Bytes of address space beside the pixels: the interpreter, its libraries and their threads.
_MEMORY: Final = 3_000_000_000
_COPIES: Final = 4


def main() -> None:
    """Do one task."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a decoder prints
    detectors = load_detectors(load_settings().detectors)
    out.write(READY)
    out.flush()
    task: Task = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the worker that started us
    _limit(resource.RLIMIT_CPU, SECONDS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, _MEMORY + _COPIES * task.limits.max_decode_bytes)
    result: Any
    try:
        result = prepare(task, detectors)
    except VisionqError as error:
        result = error
    pickle.dump(result, out)
    out.flush()


def _limit(kind: int, amount: int) -> None:
    with suppress(ValueError, OSError):  # stricter already, or unknown here
        resource.setrlimit(kind, (amount, resource.getrlimit(kind)[1]))


if __name__ == "__main__":
    main()
