"""The process that forks one for each picture: tasks come on stdin, results leave on stdout.

It looks into no picture, and so lives on when one kills. It ends with the worker, whose end closes
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
from worker.isolated_decode.frames import read_frame, write_frame
from worker.isolated_decode.task import DryRun, dry_run, prepare

if TYPE_CHECKING:
    from worker.isolated_decode.task import Task

#: Bytes of address space beside the pixels: the interpreter, its libraries and their threads.
_MEMORY: Final = 3_000_000_000
_COPIES: Final = 4
_CHUNK: Final = 1 << 20


def main() -> None:
    """Do one task after the other until stdin ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a decoder prints
    # The worker has gone, or wants no more.
    with suppress(EOFError, BrokenPipeError):
        while True:
            seconds, _, task = read_frame(sys.stdin.buffer).partition(b"\n")
            write_frame(out, pickle.dumps(_forked(task, float(seconds))))


def _forked(task: bytes, seconds: float) -> tuple[bytes, int | None]:
    """Return what the child wrote, and its exit code; None if it had to be ended."""
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
    """Return all that comes until the other side is closed, None if it is not in time."""
    parts: list[bytes] = []
    while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(pipe, _CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def _do(pickled: bytes, writing: int, seconds: float) -> None:
    """Do one task, and end the process."""
    code = 1
    try:
        task: Task | DryRun = pickle.loads(pickled)  # noqa: S301  # from the worker that started us
        _limit(resource.RLIMIT_CPU, int(seconds) + 1)
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_AS, _MEMORY + _COPIES * task.pixel_bytes)
        with os.fdopen(writing, "wb") as out:
            pickle.dump(_result(task), out)
        code = 0
    except BaseException:  # noqa: BLE001  # nothing of the child may go on in the parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def _result(task: Task | DryRun) -> Any:  # noqa: ANN401  # what was prepared, or what is wrong
    try:
        if isinstance(task, DryRun):
            return dry_run(task)
        # Only here: what a judge of pictures loads may start threads, and those survive no fork.
        return prepare(task, load_detectors(load_settings().detectors))
    except VisionqError as error:
        return error


def _limit(kind: int, amount: int) -> None:
    with suppress(ValueError, OSError):  # stricter already, or unknown here
        resource.setrlimit(kind, (amount, resource.getrlimit(kind)[1]))


if __name__ == "__main__":
    main()
