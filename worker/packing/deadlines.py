"""Find jobs of the batch lane that must be asked online to be in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from visionq.ledger.metrics import read_counters
from visionq.ledger.provider_batches import (
    BatchState,
    jobs_with_deadlines,
    lines_of_jobs,
    models_with_deadlines,
    needed_by,
    read_batch,
    reroute,
    stop,
)
from worker.packing.rates import answers_a_second, jobs_ahead
from worker.packing.timing import Needed, Timing, due_online

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.ledger import Ledger
    from visionq.ledger.metrics import Counters
    from worker.packing.flex_calls import FlexCalls

log = structlog.get_logger(__name__)

#: States of a batch that can be stopped.
_GOING_ON: Final = frozenset(
    {BatchState.PACKING, BatchState.UPLOADING, BatchState.CREATING, BatchState.OUT}
)
#: Jobs that one call of a script touches.
_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Deadlines:
    """Keeps the promise of `by`, as long as the online lane can."""

    ledger: Ledger
    clock: Callable[[], float]
    #: Seconds that stopping a batch may take, until its lines are back.
    stopping: float
    #: Seconds that a batch is taken to need until one has shown it.
    guess: float
    flex: FlexCalls

    def keep(self, took: Callable[[str], tuple[float, ...]]) -> None:
        """Move due jobs to the online lane; stop the batches that hold them.

        `took`: how long batches of a model took, in seconds.
        """
        models = models_with_deadlines(self.ledger.redis)
        counters = read_counters(self.ledger.redis) if models else None
        for model in models:
            jobs = jobs_with_deadlines(self.ledger.redis, model)
            if jobs and counters is not None:
                timing = self._timing(model, counters, took(model))
                self._keep(model, jobs, timing)

    def _keep(self, model: str, jobs: int, timing: Timing) -> None:
        now = self.clock()
        # One that is queued waits only while a batch may come back in time.
        lead = timing.stopping + timing.batch_seconds
        horizon = now + lead + timing.online_seconds(jobs)
        needed = [Needed(*one) for one in needed_by(self.ledger.redis, model, horizon)]
        late = due_online(needed, now, timing, lead)
        stopped = due_online(needed, now, timing, timing.stopping)
        flex = self.flex.seconds(model)
        # What is too late for a batch may be in time for flex.
        urgent = late if flex is None else due_online(needed, now, timing, flex)
        queued = [one.job for one in needed[:late]]
        lines = lines_of_jobs(self.ledger.redis, queued)
        waiting = [one for one in queued[:urgent] if one not in lines]
        went = sum(
            self.ledger.make(reroute(waiting[start : start + _AT_ONCE]))
            for start in range(0, len(waiting), _AT_ONCE)
        )
        if flex is not None:
            self.flex.send([one for one in queued[urgent:] if one not in lines])
        held = self._stoppable({lines[one.job] for one in needed[:stopped] if one.job in lines})
        for batch in held:
            self.ledger.make(stop(batch))
        if went or held:
            log.info("deadlines.online", model=model, jobs=went, batches_stopped=len(held))

    def _stoppable(self, batches: set[str]) -> list[str]:
        """Return those that go on: the answers of an ended one are paid."""
        found = (read_batch(self.ledger.redis, one) for one in sorted(batches))
        return [one.id for one in found if one and one.state in _GOING_ON and not one.stop]

    def _timing(self, model: str, counters: Counters, took: tuple[float, ...]) -> Timing:
        return Timing(
            rate=answers_a_second(self.ledger.redis, model, counters),
            ahead=jobs_ahead(self.ledger.redis, model),
            stopping=self.stopping,
            took=took,
            guess=self.guess,
        )
