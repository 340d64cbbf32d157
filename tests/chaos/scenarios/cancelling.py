"""Jobs that are no longer wanted, in every state, and jobs that are too late."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from monitoring.flower.flower_app import create_app
from tests.chaos.scenario import Scenario
from tests.support.fleet import jobs
from tests.support.waiting import until
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

_PICTURE: Final = 7_000


def cancelling(scene: Scene) -> None:
    """Cancel one job in each state, by the client and by Flower's button."""
    with scene.fleet(workers=1, concurrency=2) as fleet:
        fleet.simulator.configure(latency_s=2)
        _sent(scene, fleet)
        _running_and_queued(scene, fleet)
        _parked(scene, fleet)
        _too_late(scene, fleet)
        verdict = fleet.judge()
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")


def _sent(scene: Scene, fleet: ChaosFleet) -> None:
    """A call that is out is paid: its answer is kept, and good for the next caller."""
    (job_id,) = fleet.submit_these([_asked(0)])
    until(lambda: fleet.calls_out() == 1, 20, "the call to be out")
    state = str(fleet.client.cancel(job_id).state)
    until(lambda: fleet.calls_out() == 0, 20, "the answer")
    scene.equal("sent: state", state, "cancelled")
    scene.equal("sent: cost is kept", _said(fleet.client.get(job_id).cost_rub > 0), "yes")
    (again,) = fleet.submit_these([_asked(0)])
    answer = fleet.client.wait(again, timeout=20)
    scene.equal("sent: its answer is reused", _said(answer.cached and not answer.cost_rub), "yes")
    scene.equal("sent: calls", fleet.simulator.bill()["calls"], 1)


def _running_and_queued(scene: Scene, fleet: ChaosFleet) -> None:
    """Before the call nothing is paid: while the picture is fetched, and in the queue."""
    calls = fleet.simulator.bill()["calls"]
    with _silent_host() as address:
        slow = {"prompt": "?", "images": [f"{address}/a.png"]}
        running = fleet.submit_these([slow, {**slow, "prompt": "??"}])
        until(lambda: fleet.states().get("in_progress") == len(running), 20, "both to run")
        queued, revoked = fleet.submit_these([_asked(1), _asked(2)])
        states = [str(fleet.client.cancel(job_id).state) for job_id in (*running, queued)]
        app = create_app(load_settings(), fleet.server.url)
        app.control.revoke(revoked)
        states.append(str(fleet.client.get(revoked).state))
    until(lambda: not fleet.states().get("in_progress"), 20, "slots to be free")
    # The slots are at work again, and neither of the two comes back.
    fleet.client.wait(fleet.submit_these([_asked(3)])[0], timeout=60)
    scene.equal("running, queued, revoked: states", ", ".join(sorted(set(states))), "cancelled")
    scene.equal("running, queued, revoked: calls", fleet.simulator.bill()["calls"] - calls, 1)


def _parked(scene: Scene, fleet: ChaosFleet) -> None:
    """A call of unknown billing stays in the books, through every end of its job."""
    fleet.simulator.configure(faults_next=["cut_after_billing"])
    (job_id,) = fleet.submit_these([{**_asked(4), "on_unknown_billing": "hold"}])
    until(lambda: fleet.client.get(job_id).state == "parked", 20, "the job to be parked")
    scene.equal("parked: state", str(fleet.client.cancel(job_id).state), "cancelled")
    scene.equal("parked: its call stays in the books", fleet.judge().unknown_calls, 1)


def _too_late(scene: Scene, fleet: ChaosFleet) -> None:
    """A deadline that passes in the queue costs nothing."""
    fleet.simulator.configure(latency_s=4)
    calls = fleet.simulator.bill()["calls"] + fleet.concurrency
    fleet.submit_these([_asked(5), _asked(6)])
    # In the ledger a call is out before it has come to the provider.
    until(lambda: fleet.simulator.bill()["calls"] == calls, 20, "every slot to be taken")
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    (late,) = fleet.submit_these([{**_asked(7), "deadline": soon}])
    fleet.wait_until_settled(30)
    view = fleet.client.get(late)
    code = view.error.code if view.error else str(view.state)
    scene.equal("too late: code", code, "deadline_exceeded")
    scene.equal("too late: calls", fleet.simulator.bill()["calls"] - calls, 0)


def _said(holds: bool) -> str:
    return "yes" if holds else "no"


def _asked(number: int) -> dict[str, Any]:
    return next(jobs(1, _PICTURE + number))


@contextmanager
def _silent_host() -> Iterator[str]:
    """Take connections and say nothing, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


SCENARIOS: Final = (
    Scenario(
        "cancelling",
        "Cancelled in any state: nothing more is paid, and what was paid is kept and reused",
        cancelling,
        in_tests=True,
    ),
)
