"""Starts the process, and tells a picture that kills from whatever else ends a process."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from visionq.errors import InternalError, Quarantined, VisionqError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.alone.task import Prepared, Task

#: What the process says when it is about to begin.
READY: Final = b"ready\n"
#: Seconds that it has, waiting included; far more than any picture within the limits takes.
SECONDS: Final = 120
_COMMAND: Final = (sys.executable, "-P", "-m", "worker.alone")
#: Somebody's wish, and no doing of the picture.
_ASKED_TO_END: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def prepare_alone(
    task: Task, *, command: Sequence[str] = _COMMAND, seconds: float = SECONDS
) -> Prepared:
    """Prepare a picture in a process of its own, whose death costs nothing else.

    Raises:
        ImageError: what is wrong with the picture.
        Quarantined: the process died of it, or came to no end.
        InternalError: the process could not be started, or was ended by somebody.
    """
    try:
        result, code = _run(pickle.dumps(task), command, seconds)
    except OSError as error:
        raise InternalError(f"no process of its own for a picture: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        message = f"preparing it comes to no end within {seconds:g} s"
        raise Quarantined(message, image=task.name) from None
    if not result.startswith(READY) or -code in _ASKED_TO_END:
        raise InternalError(f"the process of its own for a picture did not run: {_ending(code)}")
    if code != 0:
        message = f"preparing it ends the process that does it: {_ending(code)}"
        raise Quarantined(message, image=task.name)
    done: Prepared | VisionqError = pickle.loads(result.removeprefix(READY))  # noqa: S301  # our own child, as trusted as we are
    if isinstance(done, VisionqError):
        raise done
    return done


def _run(task: bytes, command: Sequence[str], seconds: float) -> tuple[bytes, int]:
    # In a session of its own no signal for the worker's terminal or group reaches it.
    done = subprocess.run(  # noqa: S603  # our own interpreter and module
        command,
        input=task,
        stdout=subprocess.PIPE,
        timeout=seconds,
        start_new_session=True,
        check=False,
    )
    return done.stdout, done.returncode


def _ending(code: int) -> str:
    return f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
