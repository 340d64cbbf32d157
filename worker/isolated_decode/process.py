"""Asks for a process for a picture, and tells one that kills from whatever else ends a process."""

from __future__ import annotations

import pickle
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import InternalError, Quarantined, VisionqError
from visionq.installation import python_command
from worker.isolated_decode.frames import read_frame, write_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.isolated_decode.task import DryRun, Prepared, Task

#: Seconds that a picture has; far more than any within the limits takes.
SECONDS: Final = 120
#: Seconds that a job's texts and schema have; they take milliseconds.
TEXT_SECONDS: Final = 10
_COMMAND: Final = python_command("worker.isolated_decode")
#: Somebody's wish, and no doing of the picture.
_ASKED_TO_END: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class IsolatedDecoder:
    """Prepares pictures, each in a process of its own, whose death costs nothing else.

    Each is forked from a process that has imported everything. Where workers die often, many jobs
    come this way; with all the importing for each of them more workers would die over it.
    """

    def __init__(self, command: Sequence[str] = _COMMAND, seconds: float = SECONDS) -> None:
        """Start nothing yet: most workers never see such a picture."""
        self._command = tuple(command)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._parent: subprocess.Popen[bytes] | None = None

    def prepare(self, task: Task) -> Prepared:
        """Prepare a picture, when those of other threads are done.

        Raises:
            ImageError: what is wrong with the picture.
            Quarantined: the process died of it, or came to no end.
            InternalError: the process could not be started, or was ended by somebody.
        """
        try:
            done: Prepared = self._done(task, self._seconds)
        except Quarantined as error:
            raise Quarantined(error.message, image=task.name) from None
        return done

    def dry_run(self, task: DryRun) -> None:
        """Make a job's call without its pictures; raises as `prepare`, and `InvalidJob`."""
        self._done(task, min(self._seconds, TEXT_SECONDS))

    def _done(self, task: Task | DryRun, seconds: float) -> Any:  # noqa: ANN401  # of either
        result, code = self._asked(f"{seconds}\n".encode() + pickle.dumps(task))
        if code is None:
            raise Quarantined(f"preparing it comes to no end within {seconds:g} s")
        if -code in _ASKED_TO_END:
            raise InternalError(f"the process of its own did not run: {_ending(code)}")
        if code != 0:
            raise Quarantined(f"preparing it ends the process that does it: {_ending(code)}")
        done = pickle.loads(result)  # noqa: S301  # from our own child
        if isinstance(done, VisionqError):
            raise done
        return done

    def close(self) -> None:
        """End the process from which others are forked, if there is one."""
        with self._lock:
            self._end()

    def _asked(self, task: bytes) -> tuple[bytes, int | None]:
        """Return what the picture's process said, and its exit code, None if it came to no end."""
        with self._lock:
            try:
                parent = self._parent = self._parent or self._started()
                write_frame(parent.stdin, task)  # type: ignore[arg-type]  # a pipe
                said = read_frame(parent.stdout)  # type: ignore[arg-type]  # likewise
            except (OSError, EOFError) as error:
                self._end()
                message = f"no process of its own for a picture: {type(error).__name__}"
                raise InternalError(message) from error
        answer: tuple[bytes, int | None] = pickle.loads(said)  # noqa: S301  # our own child, as trusted as we are
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        # In a session of its own no signal for the worker's terminal or group reaches it.
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def _end(self) -> None:
        parent, self._parent = self._parent, None
        if parent is None:
            return
        parent.kill()
        parent.communicate()


def _ending(code: int) -> str:
    return f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
