"""Starts the children in order, keeps them alive, and ends them in the opposite order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.devstack.process import Child, Spec
from visionq.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from visionq.devstack.signals import Signals

#: Seconds that one look around sleeps at most, when no signal comes.
TICK: Final = 0.25
#: A child that dies so often before it is ready will not become ready.
_HOPELESS: Final = 3
_TAIL: Final = 5


class Supervisor:
    """The only place that starts processes. Everything runs in the caller's main thread."""

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
        """Whether somebody asked to stop."""
        return self._signals.stops > 0

    def pids(self) -> dict[str, list[int]]:
        """Return role → process ids of the children that run now."""
        found: dict[str, list[int]] = {}
        for child in self.children:
            if child.pid is not None:
                found.setdefault(child.spec.role, []).append(child.pid)
        return found

    def start(self, specs: Iterable[Spec], timeout: float) -> None:
        """Start the next stage and return when it is ready, or when somebody asked to stop.

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
        """Keep every child alive until somebody asks to stop."""
        while not self.stopping:
            self._look_around(TICK)

    def stop(self) -> bool:
        """End all children, last stage first; return whether all of them could end in peace.

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
