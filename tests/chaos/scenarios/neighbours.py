"""A hostile tenant beside a small one, which must hardly notice."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Scenario
from tests.support.hostile_pictures import png_of_zeros
from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.webhook_receiver import Receiver, receiving
from visionq.names import TENANT_JOBS
from visionq.webhooks import set_webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

_SMALL: Final = "small"
_HOSTILE: Final = "hostile"
#: Loopback addresses, each a host of its own where the system has them all.
_HOSTS: Final = tuple(f"127.0.0.{number}" for number in range(1, 9))
#: Far beyond what any test takes; its hosts and receivers are let go at the end.
_FOR_EVER: Final = 600.0
_SCHEMA: Final = {
    "type": "object",
    "properties": {f"p{n}": {"type": "string", "pattern": "^(a+)+$"} for n in range(50)},
}


def hostile_tenant(scene: Scene) -> None:
    """Ask now and then, alone and beside one who hangs, drips and decodes all that it can."""
    count, workers = scene.size(60, 6), scene.size(2, 1)
    with (
        scene.fleet(workers=workers, concurrency=scene.size(32, 8)) as fleet,
        receiving() as quick,
        receiving() as hanging,
        _dripping() as hosts,
    ):
        fleet.simulator.configure(latency_s=scene.seconds(0.5, 0.1))
        set_webhook(fleet.redis, _SMALL, quick.url)
        set_webhook(fleet.redis, _HOSTILE, hanging.url)
        hanging.delay = 8
        alone = _ask(fleet, 0, count)
        _attack(scene, fleet, hosts)
        until(lambda: hanging.at_once > 0, 120, "a receiver to hang")
        beside = _ask(fleet, count, count)
        left = fleet.redis.zcard(TENANT_JOBS + _HOSTILE)
        until(lambda: _told(quick) == 2 * count, 120, "the small tenant's webhook to be told")
        hung = hanging.most_at_once
        _end(fleet)
        hanging.delay = 0
    scene.equal("jobs of the small tenant, beside the other", len(beside), count)
    scene.at_least("jobs of the hostile one that had not ended by then", int(left), 1)
    if not scene.quick:
        scene.at_most("p95 beside the other, as times of alone", _p95(beside) / _p95(alone), 3)
    scene.note(
        p95_alone=_p95(alone), p95_beside=_p95(beside), hung=hung,
        median_alone=statistics.median(alone), median_beside=statistics.median(beside),
    )  # fmt: skip


def _ask(fleet: ChaosFleet, first: int, count: int) -> list[float]:
    """Ask one after the other, and return the seconds that each answer took."""
    taken = []
    for number in range(first, first + count):
        started = time.monotonic()
        job = fleet.client.submit(prompt="?", images=[picture(number)], tenant=_SMALL)
        job.wait(timeout=_FOR_EVER)
        taken.append(time.monotonic() - started)
    return taken


def _attack(scene: Scene, fleet: ChaosFleet, hosts: list[str]) -> None:
    client, drips = fleet.client, scene.size(200, 24)
    told = client.submit_many(
        {"prompt": f"? {n}", "images": [picture(9_000 + n)], "tenant": _HOSTILE}
        for n in range(scene.size(100, 20))
    )
    client._ledger.cancel([job.id for job in told])
    urls = [f"{hosts[n % len(hosts)]}/{n}.png" for n in range(drips)]
    list(client.submit_many({"prompt": "?", "images": [u], "tenant": _HOSTILE} for u in urls))
    huge = png_of_zeros(4_000, 4_000, 3)
    side = scene.size(64, 4)
    list(
        client.submit_many(
            {"prompt": f"? {n}", "images": [huge], "tenant": _HOSTILE, "answer_schema": _SCHEMA}
            for n in range(side)
        )
    )


def _end(fleet: ChaosFleet) -> None:
    redis = fleet.redis
    ids: list[bytes] = redis.zrange(TENANT_JOBS + _HOSTILE, 0, -1)  # type: ignore[assignment]  # of the blocking client
    fleet.client._ledger.cancel([job_id.decode() for job_id in ids])


def _told(receiver: Receiver) -> int:
    return len({document["id"] for document in receiver.documents()})


def _p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.95 * (len(seconds) - 1))]


@contextmanager
def _dripping() -> Iterator[list[str]]:
    """Serve pictures that never come to their end, from as many hosts as there are."""
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "1000000")
            self.end_headers()
            try:
                while not stopped.wait(0.2):
                    self.wfile.write(b"x")
            except OSError:
                return  # the worker has given it up

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            """Say nothing."""

    with ExitStack() as stack:
        hosts = []
        for address in _HOSTS:
            try:
                server = ThreadingHTTPServer((address, 0), Handler)
            except OSError:  # only Linux has all of them
                server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            hosts.append(f"http://{server.server_address[0]!s}:{server.server_port}")
        stack.callback(stopped.set)
        yield hosts


SCENARIOS: Final = (
    Scenario(
        "neighbour",
        "A tenant whose receivers hang, whose hosts drip and whose pictures are huge: the p95 of"
        " another is at most three times what it is alone",
        hostile_tenant,
        in_tests=True,
        busy=True,
    ),
)
