"""The provider's front is out: pages, JSON of nobody's form, hangs and cuts, for a while."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Scenario
from tests.chaos.verdict import MOST_CALLS_UNDER_RETRY
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

#: What the simulator calls them, by what a caller sees.
FORMS: Final = {"page": "502", "no-form": "no_form", "hang": "hang", "cut": "cut_before_billing"}
_WORKERS: Final = 2
_SLOTS: Final = 16
#: Calls in a row without a word that close the gate, and seconds between its trials.
_ENOUGH: Final = 5
_FIRST_PAUSE: Final = 5
_LONGEST_PAUSE: Final = 60
#: Seconds after which a call that hangs is given up.
_PATIENCE: Final = 3


def short(form: str, scene: Scene) -> None:
    """Take the front away in one form, for longer than a few jobs could wait by themselves."""
    _outage(scene, (form,), scene.seconds(20, 7))


def long(scene: Scene) -> None:
    """Take it away for ten minutes, a quarter in each form; less where the scale is smaller."""
    _outage(scene, tuple(FORMS), max(60.0, scene.seconds(600, 60) * scene.scale))


def _outage(scene: Scene, forms: tuple[str, ...], seconds: float) -> None:
    count = scene.size(2_000, 80)
    extra = {"VISIONQ_REQUEST_TIMEOUT": str(_PATIENCE)}
    with scene.fleet(workers=_WORKERS, concurrency=_SLOTS, extra=extra) as fleet:
        fleet.simulator.configure(latency_s=0.3, seed=scene.seed)
        fleet.submit(count, priority="bulk")
        until(lambda: fleet.ended() > count // 20, 60, "some jobs to end")
        before = fleet.ended()
        for form in forms:
            fleet.simulator.configure(faults={FORMS[form]: 1.0}, latency_s=0.3)
            time.sleep(seconds / len(forms))
        during = fleet.ended()
        fleet.simulator.configure(faults={}, latency_s=0.3)
        passed = fleet.wait_until_settled(600)
        _judge(scene, fleet, count, seconds)
    scene.note(
        seconds_out=seconds,
        ended_before=before,
        ended_when_it_was_over=during,
        seconds_to_the_end=passed,
    )


def _judge(scene: Scene, fleet: ChaosFleet, count: int, seconds: float) -> None:
    verdict, out = fleet.judge(), _WORKERS * _SLOTS
    trials = _trials_within(seconds)
    scene.equal("jobs lost", verdict.lost, 0)
    scene.equal("completed by themselves", verdict.completed, count)
    scene.at_most(
        "unknown calls, of those out and trials", verdict.unknown_calls, out + _ENOUGH + trials
    )
    scene.at_most("most calls of one picture", verdict.most_calls, MOST_CALLS_UNDER_RETRY)
    # What is cut off by the time-out of a slow machine may have been billed: then it is unknown.
    scene.at_most(
        "billed again, of those in the books", verdict.billed_again, verdict.unknown_calls
    )
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(unknown_calls=verdict.unknown_calls, calls=verdict.calls, trials_at_most=trials)


def _trials_within(seconds: float) -> int:
    """Return how many pauses end while the front is out, each of which is a call in vain."""
    trials, pause, moment = 0, _FIRST_PAUSE, float(_FIRST_PAUSE)
    while moment <= seconds + 1:
        trials += 1
        pause = min(2 * pause, _LONGEST_PAUSE)
        moment += pause
    return trials


SCENARIOS: Final = (
    *(
        Scenario(
            f"front-{form}",
            f"The provider's front is out for 20 s under 2,000 jobs ({form}): all end by"
            " themselves, and unknown calls are those that were out and the trials",
            partial(short, form),
            in_tests=form == "page",
        )
        for form in FORMS
    ),
    Scenario(
        "front-long",
        "The same for ten minutes, a quarter of them in each form",
        long,
    ),
)
