"""Run a command of visionq in a child process, with its own names and signals."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import IO, TYPE_CHECKING, Any, Final

from visionq.errors import BY_CODE, InvalidJob, VisionqError
from visionq.installation import python_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_COMMAND: Final = python_command("visionq.cli")
_USAGE: Final = 2
#: Where the terminal has its messages.
_SAID_ABOVE: Final = "the command ended with {}; it said above why"
_INTERRUPTED: Final = 130
#: Seconds: a run that was stopped waits for half as long for calls in progress.
_PATIENCE: Final = 60.0
_LOOK_EVERY: Final = 0.2
#: Lines of progress that a notebook shows.
_SHOWN: Final = 12


def run_child(arguments: Sequence[str]) -> Any:  # noqa: ANN401  # what it prints as JSON
    """Run a command with `--json`; show what it says, and return what it prints.

    It ends when this process does; an interrupt is passed on, and raised when it has ended.

    Raises:
        VisionqError: the command's own error.
    """
    own = sys.__stderr__  # not what a notebook puts in its place
    is_terminal = own is not None and sys.stderr is own and own.isatty()
    with subprocess.Popen(  # noqa: S603  # our own command
        (*_COMMAND, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if is_terminal else subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches it once, from here
    ) as process:
        said: deque[str] = deque(maxlen=_SHOWN)
        reader = threading.Thread(target=_show, args=(process.stderr, said, _shower()))
        reader.start()
        printed = _wait(process)
        reader.join()
    if process.returncode == _INTERRUPTED:
        raise KeyboardInterrupt
    return printed_result(printed, process.returncode, said)


def wait_for_earlier_run(record: Path) -> None:
    """Wait while the run of a kernel that was restarted writes its last answers."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            with record.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return
        except BlockingIOError:
            time.sleep(_LOOK_EVERY)
        else:
            return


def _wait(process: subprocess.Popen[bytes]) -> bytes:
    """Return all that it prints; pass interrupts on."""
    assert process.stdout is not None  # noqa: S101  # for the type checker: it is a pipe
    printed = b""
    while True:
        try:
            printed += process.stdout.read()
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
        else:
            return printed


def command() -> tuple[str, ...]:
    """Return the beginning of a command of visionq."""
    return _COMMAND


def printed_result(printed: bytes, code: int, said: Sequence[str]) -> Any:  # noqa: ANN401  # see above
    """Return what a command printed as JSON; `said` are its messages.

    Raises:
        VisionqError: the command's own error.
    """
    try:
        found = json.loads(printed)
    except ValueError:
        last = next((line for line in reversed(said) if line.strip()), _SAID_ABOVE.format(code))
        message = last.removeprefix("Error: ").removeprefix("error: ")
        raise (InvalidJob if code == _USAGE else VisionqError)(message) from None
    error = found.get("error") if isinstance(found, dict) and len(found) == 1 else None
    if error is None:
        return found
    kind = BY_CODE.get(error["code"], VisionqError)
    raise kind(error["message"], image=error.get("file"))


def _show(stderr: IO[bytes] | None, said: deque[str], show: Callable[[deque[str]], None]) -> None:
    for line in stderr or ():
        said.append(line.decode("utf-8", "replace").rstrip("\n"))
        show(said)


def _shower() -> Callable[[deque[str]], None]:
    """Return the printer of progress lines: a refreshed notebook output, or stderr."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return lambda said: print(said[-1], file=sys.stderr, flush=True)  # noqa: T201  # for people
    handle = ipython.display.display({"text/plain": "…"}, raw=True, display_id=True)
    return lambda said: handle.update({"text/plain": "\n".join(said)}, raw=True)
