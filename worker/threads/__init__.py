"""The threads that a worker runs beside its pool."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class BackgroundThread(ABC):
    """A daemon thread that loops until it is stopped."""

    def __init__(self, name: str) -> None:
        """Do nothing before `start`."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current round."""
        self._stopped.set()

    def join(self, timeout: float) -> None:
        """Wait for the end, if it ever began."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    @abstractmethod
    def _run(self) -> None:
        """Loop until `_stopped` is set."""
