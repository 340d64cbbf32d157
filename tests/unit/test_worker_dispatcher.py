"""How often a process looks for jobs to dispatch."""

from __future__ import annotations

from typing import Any

from visionq.ledger import Dispatch
from worker.threads.dispatcher import Dispatcher


class Parts:
    """Redis, ledger and publisher in one: says what it is set to, and keeps what it was asked."""

    def __init__(self, *rested: bool) -> None:
        self.answers = list(rested)
        self.ticks: list[float] = []
        self.dispatcher = Dispatcher(self, self, self)  # type: ignore[arg-type]

    def blpop(self, _: list[str], timeout: float) -> None:
        self.ticks.append(timeout)

    def dispatch(self, **_: Any) -> Dispatch:
        if len(self.answers) == 1:
            self.dispatcher.stop()
        return Dispatch((), (), rested=self.answers.pop(0))

    def publish(self, _: object) -> None:
        pass


def test_one_process_of_the_fleet_ticks() -> None:
    """A dispatcher ticks less often while others look, and as before when they stop."""
    parts = Parts(False, False, True, True, False, False)  # noqa: FBT003  # whether others had looked
    parts.dispatcher._run()
    assert parts.ticks == [1, 1, 1, 1.8, 1.8, 1]
