"""Many jobs that ask the same at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Scenario
from tests.support.fleet import jobs

if TYPE_CHECKING:
    from tests.chaos.scenario import Scene


def reuse(scene: Scene) -> None:
    """Submit every picture ten times, all at once, to several workers."""
    pictures = scene.size(100, 30)
    with scene.fleet(workers=2 if scene.quick else 4) as fleet:
        fleet.simulator.configure(latency_s=0.5)
        job_ids = fleet.submit_these(one for _ in range(10) for one in jobs(pictures))
        seconds = fleet.wait_until_settled(240)
        verdict = fleet.judge()
        results = [fleet.client.wait(job_id, timeout=5) for job_id in job_ids]
    cached = [result for result in results if result.cached]
    scene.equal("completed", verdict.completed, 10 * pictures)
    scene.equal("billed calls", verdict.billed, pictures)
    scene.equal("cached answers", len(cached), 9 * pictures)
    scene.equal("cost of those, ₽", str(sum(result.cost_rub for result in cached)), "0")
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(seconds=seconds)


SCENARIOS: Final = (
    Scenario(
        "reuse", "Jobs over the same picture pay once, also when all come at once", reuse, busy=True
    ),
)
