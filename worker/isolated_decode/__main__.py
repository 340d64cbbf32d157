"""The process that forks one for each task: tasks on stdin, results on stdout.

It looks into no picture, so it survives one that kills. It ends with the worker, whose end closes
stdin.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from visionq.detectors import load_detectors
from visionq.errors import VisionqError
from visionq.settings import load_settings
from worker.isolated_decode import DryRun, receive, send

if TYPE_CHECKING:
    from worker.isolated_decode import PictureTask

#: Bytes of address space beside the pixels: the interpreter, its libraries and their threads.
_MEMORY: Final = 3_000_000_000
_COPIES: Final = 4
_CHUNK: Final = 1 << 20


def main() -> None:
    """Run one task after another until stdin ends."""
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # decoders may print
    # The worker has gone, or wants no more.
    with suppress(EOFError, BrokenPipeError):
        while True:
            seconds, _, task = receive(sys.stdin.fileno()).partition(b"\n")
            send(out, pickle.dumps(_fork(task, float(seconds))))


def _fork(task: bytes, seconds: float) -> tuple[bytes, int | None]:
    """Run a task in a child; return its result and exit code (None: timeout)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _do(task, writing, seconds)
    os.close(writing)
    result = _read(reading, time.monotonic() + seconds)
    os.close(reading)
    if result is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return (b"", None) if result is None else (result, os.waitstatus_to_exitcode(status))


def _read(pipe: int, end: float) -> bytes | None:
    """Return everything until the writer closes the pipe; None if that takes too long."""
    parts: list[bytes] = []
    while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(pipe, _CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def _do(pickled: bytes, writing: int, seconds: float) -> None:
    """Run one task and end the process."""
    code = 1
    try:
        task: PictureTask | DryRun = pickle.loads(pickled)  # noqa: S301  # from the worker that started us
        _limit(resource.RLIMIT_CPU, int(seconds) + 1)
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_AS, _MEMORY + _COPIES * task.pixel_bytes)
        with os.fdopen(writing, "wb") as out:
            pickle.dump(_result(task), out)
        code = 0
    except BaseException:  # noqa: BLE001  # the child must not go on in the parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def _result(task: PictureTask | DryRun) -> Any:  # noqa: ANN401  # the prepared picture, or an error
    try:
        if isinstance(task, DryRun):
            return task.run()
        # Loaded only here: a detector may start threads, and those survive no fork.
        return task.run(load_detectors(load_settings().detectors))
    except VisionqError as error:
        return error


def _limit(kind: int, amount: int) -> None:
    with suppress(ValueError, OSError):  # stricter already, or unknown here
        resource.setrlimit(kind, (amount, resource.getrlimit(kind)[1]))


if __name__ == "__main__":
    main()
