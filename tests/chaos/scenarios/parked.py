"""A large backlog behind a closed gate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import psutil

from tests.chaos.scenario import Scenario
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.ledger import GateOrder, NewJob
from visionq.names import PROVIDER_KEYS
from visionq.settings import load_settings
from visionq.submission import prepare

if TYPE_CHECKING:
    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene


def parked(scene: Scene) -> None:
    """Park a large backlog, look what it costs, and let it go on."""
    count = scene.size(100_000, 3_000)
    with scene.fleet(workers=2) as fleet:
        fleet.simulator.configure(latency_s=5)
        _steer(fleet, GateOrder.CLOSE)
        empty = fleet.commands_a_second(scene.seconds(10, 3))
        _enter(fleet, count)
        time.sleep(2)
        memory = _memory(fleet)
        full = fleet.commands_a_second(scene.seconds(30, 3))
        growth = _memory(fleet) - memory
        resident = max(_resident(worker.pid) for worker in fleet.workers)
        called = fleet.simulator.bill()["calls"]
        _steer(fleet, GateOrder.OPEN)
        opened = time.monotonic()
        until(lambda: fleet.simulator.bill()["calls"] > called, 30, "work to go on")
        resumed = time.monotonic() - opened
    scene.equal("calls while closed", called, 0)
    scene.at_most("Redis commands a second more than with none", full - empty, 2)
    scene.at_most("growth of Redis's memory, bytes", growth, 1_000_000)
    scene.at_most("seconds until the first call", resumed, 2)
    scene.note(
        jobs=count,
        commands_a_second=full,
        bytes_a_job=round(memory / count),
        worker_megabytes=round(resident / 1e6),
    )


def _enter(fleet: ChaosFleet, count: int) -> None:
    (blob,) = fleet.client._blobs.put([picture(1)])
    fields = {"prompt": "?", "images": [{"blob": blob}], "reuse": "off"}
    document = prepare(fields, load_settings())
    for start in range(0, count, 500):
        few = range(start, min(count, start + 500))
        fleet.client._ledger.submit([NewJob(f"parked-{number}", document) for number in few])


def _steer(fleet: ChaosFleet, order: GateOrder) -> None:
    keys: Any = fleet.redis.smembers(PROVIDER_KEYS)
    for key in keys:
        fleet.client._ledger.steer_gate(key.decode(), order)


def _memory(fleet: ChaosFleet) -> int:
    shown: Any = fleet.redis.info("memory")
    return int(shown["used_memory"])


def _resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


SCENARIOS: Final = (
    Scenario(
        "parked",
        "A parked backlog costs nothing but its memory, and resumes in 2 s",
        parked,
        busy=True,
    ),
)
