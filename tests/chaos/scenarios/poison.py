"""Messages that nobody can work on, and pictures that nobody survives."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.scenario import Scenario
from tests.support.constants import with_constants
from tests.support.deadly_picture import DEADLY, install_killer
from tests.support.poison import eight_kinds, further_kinds
from tests.support.waiting import until
from visionq.dead_letters import DeadLetters
from visionq.names import HINT_QUEUES, QUEUE_INTAKE
from visionq.settings import Settings

if TYPE_CHECKING:
    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

_QUEUES: Final = (*HINT_QUEUES, QUEUE_INTAKE)
_PROMPT: Final = "Что изображено?"
#: What the killing judge is asked of.
_ASKED: Final[dict[str, Any]] = {"prompt": _PROMPT, "pictures": {"logo": "warn"}}


def poison(scene: Scene) -> None:
    """Put poison of every kind into every queue, between the hints of good jobs."""
    rounds, count = scene.size(5, 1), scene.size(400, 40)
    wanted: Counter[str] = Counter()
    keep_all = with_constants(
        scene.folder / "constants", Settings, dead_letters_bytes=2_000_000_000
    )
    with scene.fleet(workers=2, extra=keep_all) as fleet:
        redis, letters = fleet.redis, DeadLetters(fleet.redis)
        fleet.simulator.configure(latency_s=0.2)
        for _ in range(rounds):
            fleet.submit(count // rounds)
            for queue in _QUEUES:
                kinds = (eight_kinds(queue) | further_kinds(queue)).values()
                redis.lpush(queue, *(message for message, _ in kinds))
                wanted.update(str(reason) for _, reason in kinds)
        fleet.wait_until_settled(120)
        until(lambda: len(_reasons(letters)) >= wanted.total(), 120, "every letter to be kept")
        found, died = Counter(_reasons(letters)), fleet.replace_ended()
        again = _replayed(fleet, next(letters.latest()).id)
        verdict = fleet.judge()
    scene.equal("kept, each with its reason", _compared(found, wanted), wanted.total())
    scene.equal("workers that ended", died, 0)
    scene.equal("good jobs completed", verdict.completed, rounds * (count // rounds))
    scene.equal("calls", verdict.calls, rounds * (count // rounds))
    scene.equal("exit code of the replay by command line", again, 0)
    scene.note(kinds=len(eight_kinds("")) + len(further_kinds("")), queues=len(_QUEUES))


def _reasons(letters: DeadLetters) -> list[str]:
    return [letter.reason for letter in letters.latest()]


def _compared(found: Counter[str], wanted: Counter[str]) -> int | str:
    return found.total() if found == wanted else f"{dict(found)} and not {dict(wanted)}"


def _replayed(fleet: ChaosFleet, letter: str) -> int:
    command = [sys.executable, "-m", "visionq.cli", "dead-letters", "replay", letter]
    with (fleet.logs / "replay.log").open("wb") as log:
        return subprocess.run(
            command, env=fleet.environment(), check=False, stdout=log, stderr=log
        ).returncode


def deadly_picture(scene: Scene) -> None:
    """Have pictures kill their workers while they are looked at, and workers die after *sent*."""
    environment = install_killer(scene.folder / "site")
    deadly = {**_ASKED, "images": [("deadly.png", DEADLY)]}
    with scene.fleet(workers=1, concurrency=4, extra=environment) as fleet:
        (job_id,) = fleet.submit_these([deadly])
        deaths = _deaths_until_settled(fleet)
        calls = fleet.simulator.bill()["calls"]
        view = fleet.client.get(job_id)
        fleet.simulator.configure(latency_s=30)
        (unlucky,) = fleet.submit(1, on_unknown_billing="retry")
        kills = _kill_after_sent(fleet, unlucky)
        fleet.simulator.configure(latency_s=0)
        fleet.wait_until_settled(60)
        innocent = fleet.client.get(unlucky)
    scene.equal("workers that died of the picture", deaths, 2)
    scene.equal("its job", view.error.code if view.error else str(view.state), "quarantined")
    scene.equal("calls for it", calls, 0)
    scene.equal("deaths after sent", kills, 2)
    scene.equal("job whose workers died after sent", _outcome(innocent), "parked billing_unknown")


def _outcome(view: Any) -> str:
    return " ".join(filter(None, (str(view.state), view.reason and str(view.reason))))


def _deaths_until_settled(fleet: ChaosFleet) -> int:
    """Replace the dead until the job has ended; returns how many died."""
    deaths, end = 0, time.monotonic() + 240
    while not fleet.settled_down():
        deaths += fleet.replace_ended()
        assert time.monotonic() < end, "the deadly picture has not been found out"
        time.sleep(0.1)
    return deaths


def _kill_after_sent(fleet: ChaosFleet, job_id: str) -> int:
    """Kill the worker whenever the job's call is out; returns how often it was."""
    kills = 0

    def parked() -> bool:
        return fleet.client.get(job_id).state == "parked"

    while not parked():
        until(lambda: fleet.calls_out() == 1 or parked(), 240, "a call")
        if fleet.calls_out():
            (worker,) = fleet.workers
            worker.kill()
            worker.wait()
            fleet.replace(worker)
            kills += 1
            # The next call may be out as soon as the death is noticed.
            until(lambda: fleet.client.get(job_id).unknown_calls == kills, 60, "it to be noticed")  # noqa: B023  # called here
    return kills


SCENARIOS: Final = (
    Scenario(
        "poison",
        "Nineteen kinds of broken messages in every queue: no worker ends, each is kept with its"
        " reason",
        poison,
    ),
    Scenario(
        "deadly-picture",
        "A picture that kills its worker costs two workers and no call; deaths after the call are"
        " no reason to put a job away",
        deadly_picture,
    ),
)
