"""Workers and Redis killed again and again while the provider fails."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.chaos.killer import Killer
from tests.chaos.scenario import Scenario
from tests.chaos.verdict import MOST_CALLS_UNDER_RETRY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene
    from tests.chaos.verdict import Verdict

_WORKERS: Final = 4
#: Seconds: the shortest that there is.
_SHORT_LEASE: Final = 5
#: As of an account with a known limit: refusals without a limit teach none.
_LIMITS: Final = '{"gpt-6-luna": {"requests_per_minute": 12000}}'


def storm(scene: Scene) -> None:
    """Kill workers every two seconds, and Redis five times, at a provider that refuses a fifth."""
    _storm(scene, scene.size(10_000, 150), call=0.5, every=2)


def slow_storm(scene: Scene) -> None:
    """The same with calls that outlast a lease, and deaths that leave them time to end."""
    _storm(scene, scene.size(400, 60), call=3 * _SHORT_LEASE, every=20)


def _storm(scene: Scene, count: int, *, call: float, every: float) -> None:
    extra = {"VISIONQ_LIMITS": _LIMITS}
    if call > _SHORT_LEASE:
        extra["VISIONQ_LEASE"] = str(_SHORT_LEASE)
    with scene.fleet(workers=2 if scene.quick else _WORKERS, extra=extra) as fleet:
        fleet.simulator.configure(
            faults={"429": 0.04, "500": 0.08, "503": 0.08}, latency_s=call, seed=scene.seed
        )
        times = 1 if scene.quick else 5
        deaths = [count * (number + 1) // (times + 1) for number in range(times)]
        killer = Killer(fleet, every, deaths, most=8 if scene.quick else 1_000_000)
        fleet.submit(count)
        seconds = fleet.wait_until_settled(1500, killer)
        verdict = fleet.judge()
    _nothing_lost(scene, verdict, count)
    scene.at_most("billed again, of calls out at a kill", verdict.billed_again, killer.calls_out)
    scene.at_most(
        "billed again, of those in the books", verdict.billed_again, verdict.unknown_calls
    )
    scene.equal("the bill is within the books", _within_books(verdict), "yes")
    _tell(scene, killer, verdict, seconds)


def hold(scene: Scene) -> None:
    """Cut and hang calls, and kill workers, under the policy `hold`."""
    count = scene.size(2_000, 100)
    with _unclear_fleet(scene) as fleet:
        killer = Killer(fleet)
        fleet.submit(count, on_unknown_billing="hold")
        seconds = fleet.wait_until_settled(600, killer)
        verdict = fleet.judge()
    _nothing_lost(scene, verdict, count)
    scene.equal("most calls of one picture", verdict.most_calls, 1)
    scene.equal("parked, each in the books", verdict.of_unknown_billing, verdict.unknown_calls)
    _tell(scene, killer, verdict, seconds)


def retry(scene: Scene) -> None:
    """Cut and hang calls under the policy `retry`."""
    count = scene.size(2_000, 100)
    with _unclear_fleet(scene) as fleet:
        fleet.submit(count)
        seconds = fleet.wait_until_settled(600, fleet.replace_ended)
        verdict = fleet.judge()
    _nothing_lost(scene, verdict, count)
    extra = verdict.calls - verdict.completed
    scene.equal("calls without an answer, all in the books", extra, verdict.unknown_calls)
    scene.at_most("most calls of one picture", verdict.most_calls, MOST_CALLS_UNDER_RETRY)
    scene.equal("the bill is within the books", _within_books(verdict), "yes")
    scene.note(calls=verdict.calls, parked=verdict.of_unknown_billing, seconds=seconds)


def retry_killed(scene: Scene) -> None:
    """The same while workers are killed: of their calls some may not have left the machine."""
    count = scene.size(2_000, 100)
    with _unclear_fleet(scene) as fleet:
        killer = Killer(fleet)
        fleet.submit(count)
        seconds = fleet.wait_until_settled(600, killer)
        verdict = fleet.judge()
    _nothing_lost(scene, verdict, count)
    extra = verdict.calls - verdict.completed
    scene.at_most("calls without an answer, of those in the books", extra, verdict.unknown_calls)
    unheard = verdict.unknown_calls - extra
    scene.at_most("unknown calls that never came, of those cut short", unheard, killer.calls_out)
    scene.at_most("most calls of one picture", verdict.most_calls, MOST_CALLS_UNDER_RETRY)
    scene.equal("the bill is within the books", _within_books(verdict), "yes")
    _tell(scene, killer, verdict, seconds)


@contextmanager
def _unclear_fleet(scene: Scene) -> Iterator[ChaosFleet]:
    with scene.fleet(workers=2, extra={"VISIONQ_REQUEST_TIMEOUT": "3"}) as fleet:
        fleet.simulator.configure(
            faults={"cut_before_billing": 0.04, "cut_after_billing": 0.04, "hang": 0.02},
            latency_s=0.3,
            seed=scene.seed,
        )
        yield fleet


def _nothing_lost(scene: Scene, verdict: Verdict, count: int) -> None:
    scene.equal("jobs lost", verdict.lost, 0)
    scene.equal("completed or of unknown billing", _ended(verdict), count)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")


def _ended(verdict: Verdict) -> int:
    return verdict.completed + verdict.of_unknown_billing


def _within_books(verdict: Verdict) -> str:
    """Say whether all that was billed is settled or counted as unknown."""
    inside = verdict.settled <= verdict.bill <= verdict.settled + verdict.unknown
    books = f"{verdict.settled} to {verdict.settled + verdict.unknown}"
    return "yes" if inside else f"bill {verdict.bill}, books {books} nano-rubles"


def _tell(scene: Scene, killer: Killer, verdict: Verdict, seconds: float) -> None:
    scene.note(
        jobs=verdict.submitted,
        worker_kills=killer.kills,
        redis_kills=killer.redis_kills,
        calls_out_at_kills=killer.calls_out,
        unknown_calls=verdict.unknown_calls,
        billed_again=verdict.billed_again,
        parked=verdict.of_unknown_billing,
        quarantined=verdict.states["failed quarantined"],
        deaths_before_a_call=_deaths(verdict),
        lost=verdict.lost,
        workers_ended_by_themselves=killer.ended_by_themselves,
        calls=verdict.calls,
        seconds=seconds,
    )


def _deaths(verdict: Verdict) -> str:
    """Say of how many jobs one worker died before it had sent the call, and of how many more."""
    told = [f"{jobs} jobs {times}" for times, jobs in sorted(verdict.deaths.items()) if times]
    return " · ".join(told) or "none"


SCENARIOS: Final = (
    Scenario(
        "storm",
        "Workers killed every 2 s, Redis five times, a fifth of the calls refused: nothing is lost,"
        " and only calls that were out at a kill are made again, each of them in the books",
        storm,
        in_tests=True,
        busy=True,
    ),
    Scenario(
        "slow-storm",
        "The same with calls that take three times as long as a lease",
        slow_storm,
    ),
    Scenario(
        "hold",
        "Cuts, hangs and kills under `hold`: no picture is called for twice",
        hold,
        busy=True,
    ),
    Scenario(
        "retry",
        "Cuts and hangs under `retry`: the bill's extra calls are the ledger's unknown calls",
        retry,
        busy=True,
    ),
    Scenario(
        "retry-killed",
        "Cuts, hangs and kills under `retry`: the bill's extra calls are among the unknown ones",
        retry_killed,
        busy=True,
    ),
)
