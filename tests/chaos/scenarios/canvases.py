"""Chords of a Celery program while workers and Redis are killed."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, chord, group

from tests.chaos.killer import Killer
from tests.chaos.scenario import Scenario
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq import names
from visionq.redis_connection import TRANSIENT_ERRORS

if TYPE_CHECKING:
    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

#: Nobody consumes it: the messages of all bodies stay to be counted.
_QUEUE: Final = "bodies"
_PARTS: Final = 10
_PICTURES: Final = 50


def chords(scene: Scene) -> None:
    """Send chords of ten questions, and kill workers, and Redis, until each has ended."""
    count = scene.size(1_000, 20)
    with scene.fleet(workers=2 if scene.quick else 4) as fleet:
        fleet.simulator.configure(latency_s=1, seed=scene.seed)
        sent = _send(fleet, count)
        # A message that is on its way from a broker that is killed is lost: kombu removes it first.
        until(lambda: _entered(fleet) == _PARTS * count, 300, "all parts to be entered")
        ended, times = fleet.ended(), 1 if scene.quick else 5
        deaths = [
            ended + (_PARTS * count - ended) * (number + 1) // (times + 2)
            for number in range(times)
        ]
        # Celery looks every 15 s for messages whose worker died: some must live as long.
        killer = Killer(fleet, 2, deaths, most=scene.size(60, 4))
        started = time.monotonic()

        def all_sent() -> bool:
            killer()
            return len(_bodies(fleet)) >= count

        until(all_sent, 900, lambda: f"{count} bodies; there are {len(_bodies(fleet))}")
        seconds = round(time.monotonic() - started, 1)
        until(lambda: _is_quiet(fleet), 120, "every delivery to end")
        bodies = Counter(_bodies(fleet))
    scene.equal("bodies sent", sum(bodies.values()), count)
    scene.equal("bodies sent that were asked for", len(bodies.keys() & set(sent)), count)
    scene.note(
        parts=_PARTS * count,
        worker_kills=killer.kills,
        redis_kills=killer.redis_kills,
        seconds=seconds,
    )


def _send(fleet: ChaosFleet, count: int) -> list[str]:
    """Send the chords; return the ids of their bodies."""
    app = Celery(broker=fleet.server.url, backend=fleet.server.url)
    blobs = fleet.client._blobs.put([picture(number) for number in range(_PICTURES)])

    def part(number: int) -> Any:
        kwargs = {"prompt": "?", "images": [{"blob": blobs[number % _PICTURES]}]}
        return app.signature(names.TASK_ANALYZE, kwargs=kwargs, queue=names.QUEUE_INTAKE)

    body = app.signature("shop.total", queue=_QUEUE)
    return [
        chord(group(part(_PARTS * number + n) for n in range(_PARTS)), body.clone())().id
        for number in range(count)
    ]


def _bodies(fleet: ChaosFleet) -> list[str]:
    """Return the ids of the bodies that were sent; empty while Redis is away."""
    try:
        messages: Any = fleet.redis.lrange(_QUEUE, 0, -1)
    except TRANSIENT_ERRORS:
        return []
    return [json.loads(message)["headers"]["id"] for message in messages]


def _entered(fleet: ChaosFleet) -> int:
    return sum(fleet.counts().values())


def _is_quiet(fleet: ChaosFleet) -> bool:
    redis = fleet.redis
    return not redis.exists(names.DELIVERIES_OUT, names.DELIVERY_TENANTS)


SCENARIOS: Final = (
    Scenario(
        "chords",
        "Chords of a Celery program, workers and Redis killed: each body is sent once",
        chords,
        busy=True,
    ),
)
