"""One supervised process: how it is started, ended, and started again."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.devstack.logfile import LogFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: A life this long, in seconds, forgives all earlier deaths.
STEADY: Final = 10.0
LONGEST_PAUSE: Final = 5.0

_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Spec:
    """What to run and how to treat it."""

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
    """Return the seconds to wait after so many deaths in a row, each after a short life."""
    return 0.0 if quick_deaths <= 1 else min(LONGEST_PAUSE, 2.0 ** (quick_deaths - 2))


class Child:
    """A process of the stack through all its lives."""

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
        """Begin a life. Call it from the main thread only: see `_die_with_parent`."""
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
        """Look after the process; return whether a new life began."""
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
        """Ask it to end; `tend` kills it when `patience` seconds have passed."""
        if self.wanted:
            self.wanted = False
            self._send(signal.SIGTERM)
        self._kill_at = self._clock() + patience

    def _on_death(self, now: float, status: int) -> None:
        # Whatever it has left behind in its own session goes with it.
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
    """Have Linux kill the child when the thread that started it ends, however it ends.

    SIGKILL and not SIGTERM: without `up` nothing would hold the right order of ending, so it is
    as after a power cut, which the ledger is made for. Other systems have no such means.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
