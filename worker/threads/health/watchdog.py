"""Ends a process whose interpreter is held: by the kernel's hand, for no thread could do it then.

A timer counts the CPU time of the whole process and is set anew by a thread once a second. Where
one thread never lets go of the interpreter's lock, as in an extension that computes for ever,
nobody sets it anew, and its signal ends the process. A process that is merely stopped, starved or
waiting uses no CPU time, and lives.
"""

from __future__ import annotations

import faulthandler
import signal


class Watchdog:
    """Set anew again and again; ends the process after so many CPU seconds without."""

    def __init__(self, seconds: float) -> None:
        """Do nothing before `start`."""
        self._seconds = seconds

    def start(self) -> None:
        """Begin; the signal shows where each thread stands, and then ends the process."""
        faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
        self.feed()

    def feed(self) -> None:
        """Set the timer anew."""
        signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def stop(self) -> None:
        """Leave the process alone from now on."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
