"""Start the processes of a stack in order, keep them alive, stop them in reverse."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, Self

from visionq.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Counts requests to stop; wakes the main loop for them and for ended children.

    Use it as a context manager in the main thread; handlers are put back at the end.
    """

    def __init__(self, end_with: int | None = None) -> None:
        """With `end_with`, end of input counts as one request to stop."""
        self.stops = 0
        self._end_with = end_with

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._old_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = {number: signal.getsignal(number) for number in (*_STOPPING, signal.SIGCHLD)}
        for number in _STOPPING:
            # nohup ignores SIGHUP on purpose; a shell's `&` ignores SIGINT for no such reason.
            if number is not signal.SIGHUP or self._old[number] is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, self._wake)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> None:
        """Sleep until something happens, or until the timeout."""
        inputs = [self._reader, *([] if self._end_with is None else [self._end_with])]
        for ready in select.select(inputs, [], [], max(0.0, seconds))[0]:
            if not os.read(ready, 4096) and ready == self._end_with:
                self._end_with = None
                self.stops += 1

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        self.stops += 1

    def _wake(self, number: int, frame: FrameType | None) -> None:
        """Do nothing: Python's handler writes the byte that wakes the loop."""


#: Bytes after which a log starts again; one older part is kept.
LARGEST: Final = 20_000_000
_LONGEST_READ: Final = 1_000_000


class LogFile:
    """A log file that a child appends to, and its supervisor reads and truncates."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = path.stat().st_size if path.exists() else 0

    def open_for_child(self) -> IO[bytes]:
        """Open for appending, so that a truncated log continues at its new end."""
        return os.fdopen(os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "wb", 0)

    def note(self, line: str) -> None:
        """Append a line of the supervisor's own."""
        with self.open_for_child() as file:
            file.write(f"[up] {line}\n".encode())

    def new_lines(self) -> list[str]:
        """Return complete lines since the last call, and bound the file."""
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            text = file.read(_LONGEST_READ)
            if len(text) < _LONGEST_READ:  # keep a line that is being written for the next time
                text = text[: text.rfind(b"\n") + 1]
            self._read_to += len(text)
            size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
            os.truncate(self.path, 0)
            self._read_to = 0
        return text.decode("utf-8", "replace").splitlines()

    def tail(self, lines: int) -> list[str]:
        """Return the last lines, for a message about a child that failed."""
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]


#: A life this long, in seconds, forgives all earlier deaths.
STEADY: Final = 10.0
LONGEST_PAUSE: Final = 5.0

_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Spec:
    """A process to run, and how to treat it."""

    #: Name in the process list and in messages, such as `visionq-worker-1`.
    name: str
    #: Key of `pids`: `redis`, `simulator`, `worker`, `flower`, `gateway`, `exporter`.
    role: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    #: Says whether it does its work already; asked after the start only.
    is_ready: Callable[[], bool]
    #: Seconds between SIGTERM and SIGKILL.
    patience: float


def restart_pause(quick_deaths: int) -> float:
    """Return the restart delay in seconds after this many short runs in a row."""
    return 0.0 if quick_deaths <= 1 else min(LONGEST_PAUSE, 2.0 ** (quick_deaths - 2))


class Child:
    """A process of the stack, across restarts."""

    def __init__(self, spec: Spec, clock: Callable[[], float]) -> None:
        self.spec = spec
        self.log = LogFile(spec.log)
        self.wanted = True
        self.quick_deaths = 0
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._restart_at = 0.0
        self._kill_at = 0.0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process. Call from the main thread only: see `_die_with_parent`."""
        with self.log.open_for_child() as log:
            self._process = subprocess.Popen(  # noqa: S603  # the command is composed by this package
                self.spec.command,
                env=dict(self.spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches `up` alone, which then ends its children in order.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # no other thread runs here
            )
        self._started = self._clock()

    def tend(self) -> bool:
        """Check the process; return whether it was restarted."""
        now = self._clock()
        if self._process is not None and self._process.poll() is not None:
            self._on_death(now, self._process.returncode)
        if not self.wanted:
            if self._process is not None and now >= self._kill_at:
                self._send(signal.SIGKILL)
            return False
        if self._process is None and now >= self._restart_at:
            self.start()
            return True
        return False

    def end(self, patience: float) -> None:
        """Ask it to stop; `tend` kills it after `patience` seconds."""
        if self.wanted:
            self.wanted = False
            self._send(signal.SIGTERM)
        self._kill_at = self._clock() + patience

    def _on_death(self, now: float, status: int) -> None:
        # Processes that it left in its own session go with it.
        self._send(signal.SIGKILL)
        self._process = None
        if not self.wanted:
            return
        lived = now - self._started
        self.quick_deaths = 1 if lived >= STEADY else self.quick_deaths + 1
        pause = restart_pause(self.quick_deaths)
        self._restart_at = now + pause
        self.log.note(
            f"{self.spec.name} ended with {status} after {lived:.1f} s;"
            f" starting it again in {pause:.0f} s"
        )

    def _send(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of the dead
            if number == signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)


def _die_with_parent() -> None:
    """Have Linux kill the child when the thread that started it ends.

    SIGKILL and not SIGTERM: without `up` nothing would hold the right order of ending, so it is
    as after a power cut, which the ledger is made for. Other systems have no such means.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


#: Seconds that one look around sleeps at most, when no signal comes.
TICK: Final = 0.25
#: A child that dies so often before it is ready will not become ready.
_HOPELESS: Final = 3
_TAIL: Final = 5


class Supervisor:
    """Starts and watches all processes, in the caller's main thread."""

    def __init__(
        self,
        signals: Signals,
        clock: Callable[[], float],
    ) -> None:
        #: Gets a child's name and its new log lines.
        self.show: Callable[[str, list[str]], None] | None = None
        #: Called after a child was started again.
        self.on_restart: Callable[[], None] | None = None
        self._signals = signals
        self._clock = clock
        self._stages: list[list[Child]] = []

    @property
    def children(self) -> list[Child]:
        """All children, in the order of their start."""
        return [child for stage in self._stages for child in stage]

    @property
    def stopping(self) -> bool:
        """Whether a signal asked to stop."""
        return self._signals.stops > 0

    def pids(self) -> dict[str, list[int]]:
        """Return role → process ids of running children."""
        found: dict[str, list[int]] = {}
        for child in self.children:
            if child.pid is not None:
                found.setdefault(child.spec.role, []).append(child.pid)
        return found

    def start(self, specs: Iterable[Spec], timeout: float) -> None:
        """Start the next stage and wait until it is ready, or asked to stop.

        Raises:
            StartFailed: a child dies again and again, or is not ready within `timeout` seconds.
        """
        stage = [Child(spec, self._clock) for spec in specs]
        self._stages.append(stage)
        for child in stage:
            child.start()
        deadline = self._clock() + timeout
        waiting = stage
        while waiting and not self.stopping:
            waiting = [child for child in waiting if not child.spec.is_ready()]
            for child in waiting:
                _check_hope(child, late=self._clock() >= deadline)
            self._look_around(TICK / 5 if waiting else 0)

    def watch(self) -> None:
        """Keep every child alive until a signal asks to stop."""
        while not self.stopping:
            self._look_around(TICK)

    def stop(self) -> bool:
        """Stop all children, last stage first; return whether all stopped cleanly.

        The earlier stages are kept alive meanwhile: what a worker still finishes needs Redis. A
        second request to stop kills.
        """
        peaceful = True
        for stage in reversed(self._stages):
            for child in stage:
                child.end(child.spec.patience)
            while _running(stage):
                if self._signals.stops > 1:
                    peaceful = False
                    for child in stage:
                        child.end(0)
                self._look_around(TICK)
        return peaceful

    def _look_around(self, seconds: float) -> None:
        self._signals.wait(seconds)
        restarted = [child.tend() for child in self.children]
        for child in self.children:
            lines = child.log.new_lines()
            if lines and self.show is not None:
                self.show(child.spec.name, lines)
        if any(restarted) and self.on_restart is not None:
            self.on_restart()


def _running(stage: Sequence[Child]) -> bool:
    return any(child.pid is not None for child in stage)


def _check_hope(child: Child, *, late: bool) -> None:
    name, log = child.spec.name, child.log
    if not late and child.quick_deaths < _HOPELESS:
        return
    what = "was not ready in time" if late else "ends as soon as it starts"
    said = " | ".join(log.tail(_TAIL))
    raise StartFailed(f"{name} {what}; {log.path} ends with: {said}")
