"""Decide between batch and online by time: pure rules, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.pricing.batch_lane import FIRST_GUESS, STOPPING, usual_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What an estimate of the online lane is multiplied by: a late answer is worse than a dear one.
_MARGIN: Final = 1.5


@dataclass(frozen=True, slots=True)
class Timing:
    """Observed times and rates of a model's two lanes."""

    #: Answers a second that the online lane gives.
    rate: float
    #: Jobs that are before ours in the online lane.
    ahead: int = 0
    #: Seconds that stopping a batch may take, until its lines are back.
    stopping: float = STOPPING
    #: Seconds that batches took, and what is guessed until one has shown it.
    took: tuple[float, ...] = ()
    guess: float = FIRST_GUESS

    @property
    def batch_seconds(self) -> float:
        """Seconds that a batch takes, as a rule."""
        return usual_seconds(self.took, self.guess)

    def online_seconds(self, jobs: int) -> float:
        """Return seconds until the online lane has answered `jobs` more."""
        return (self.ahead + jobs) / self.rate * _MARGIN


@dataclass(frozen=True, slots=True)
class Needed:
    """A job of the batch lane, and by when its answer is needed."""

    job: str
    by: float


def due_online(jobs: Sequence[Needed], now: float, timing: Timing, lead: float) -> int:
    """Return how many of the jobs, ordered by need, have to go online now.

    Those that would be late if they, and all that are needed before them, waited `lead` seconds
    more before the online lane began with them.
    """
    due = 0
    for place, job in enumerate(jobs, 1):
        if now + lead + timing.online_seconds(place) >= job.by:
            due = place
    return due


#: Seconds between two looks at a batch: soon at first, since small ones are done in minutes.
_FIRST_LOOK: Final = 10.0
_LONGEST_PAUSE: Final = 300.0


def pause_before_look(age: float, scale: float = 1.0) -> float:
    """Return seconds until the next look at a batch of this age."""
    return min(max(_FIRST_LOOK * scale, age / 10), _LONGEST_PAUSE * scale)
