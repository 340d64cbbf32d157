"""What follows a job in a Celery program (links, chains, chords) is sent once."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bare_celery import caller_source, run_caller
from tests.support.fleet import Fleet, running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq import names
from visionq.ledger import DeliveryState
from visionq.ledger.deliveries import latest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A shop's own worker: it notes the arguments of each of its tasks in a list of Redis.
_SHOP = """
def note(name):
    @app.task(name=name, bind=True)
    def task(self, *args, **kwargs):
        app.backend.client.rpush("shop-notes", json.dumps([name, self.request.id, args, kwargs]))
        return {"noted": name}

for name in ("shop.next", "shop.total", "shop.failed"):
    note(name)

@app.task(name="shop.pick")
def pick(sha):
    return {"images": [{"blob": sha}]}

worker = app.Worker(pool="threads", concurrency=2, queues=["shop"], loglevel="WARNING")
worker.start()
"""
_ASK = """
def ask(number=0, **options):
    kwargs = {"prompt": "?", "images": [{"blob": given["blobs"][number]}], **options}
    return app.signature("visionq.analyze", kwargs=kwargs, queue="visionq.intake", immutable=True)

# Valid for the intake, and no picture for the worker.
hopeless = app.signature(
    "visionq.analyze",
    kwargs={"prompt": "?", "images": [{"blob": given["blobs"][-1]}]},
    queue="visionq.intake", immutable=True,
)
following, failed, total = (
    app.signature(f"shop.{name}", queue="shop") for name in ("next", "failed", "total")
)
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("canvases")
    extra = {"VISIONQ_LEASE": "5"}
    with running_fleet(folder, workers=1, concurrency=8, extra=extra) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def shop(bare_environment: Path, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Any:
    log = tmp_path_factory.mktemp("shop") / "shop.log"
    with _running_shop(bare_environment, fleet, log):
        yield


@contextmanager
def _running_shop(environment: Path, fleet: Fleet, log: Path) -> Iterator[None]:
    source = caller_source(environment, _SHOP)
    command = [sys.executable, "-S", "-E", "-P", "-c", source, fleet.server.url, "{}"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(autouse=True)
def _forget(fleet: Fleet) -> None:
    fleet.redis.delete("shop-notes")


def blobs(fleet: Fleet, *numbers: int) -> list[str]:
    # The last is no picture: a job about it is entered, and fails.
    return fleet.client._blobs.put([*map(picture, numbers), b"no picture"])


def state_of(fleet: Fleet, job_id: str) -> str:
    found: Any = fleet.redis.hget(names.JOB + job_id, "state")
    return str(found.decode())


def noted(fleet: Fleet, count: int = 1) -> list[Any]:
    """Return what the shop's tasks got, once as much is there and nothing more is to come."""
    redis = fleet.redis
    until(lambda: redis.llen("shop-notes") >= count, 60, f"{count} tasks of the shop")
    until(
        lambda: not redis.zcard(names.DELIVERIES_OUT) and not redis.zcard(names.DELIVERY_TENANTS),
        60,
        "deliveries to end",
    )
    found = [json.loads(note) for note in redis.lrange("shop-notes", 0, -1)]
    assert len(found) == count
    return found


def test_a_link_gets_the_answer(bare_environment: Path, fleet: Fleet) -> None:
    """A linked task is called with the result document, which `get()` returns too."""
    program = f"{_ASK}\nreply(outcome(ask().apply_async(link=[following, total])))"
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 1))
    calls = noted(fleet, 2)
    assert {name for name, *_ in calls} == {"shop.next", "shop.total"}
    assert all(arguments == [reply["answer"]] for _, _, arguments, _ in calls)


def test_an_error_callback_gets_the_id(bare_environment: Path, fleet: Fleet) -> None:
    """An error callback gets the id of the job that failed; no link is called."""
    program = f"{_ASK}\nreply(outcome(hopeless.apply_async(link=following, link_error=failed)))"
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 2))
    assert reply["state"] == "FAILURE"
    ((name, _, arguments, _),) = noted(fleet)
    assert (name, arguments) == ("shop.failed", [reply["id"]])


def test_a_chain_goes_on(bare_environment: Path, fleet: Fleet) -> None:
    """A job takes fields from the step before it, and its answer is the next step's argument."""
    program = f"""{_ASK}
about = app.signature("visionq.analyze", kwargs={{"prompt": "?"}}, queue="visionq.intake")
pick = app.signature("shop.pick", args=[given["blobs"][0]], queue="shop")
reply(outcome(chain(pick, about, following)()))
"""
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 3))
    assert reply["answer"] == {"noted": "shop.next"}
    ((_, _, arguments, _),) = noted(fleet)
    assert arguments[0]["text"]


def test_a_broken_chain_ends(bare_environment: Path, fleet: Fleet) -> None:
    """A step behind a job that failed fails with it: its caller need not wait in vain."""
    program = f"""{_ASK}
last = chain(hopeless, following)().id
reply(outcome(app.AsyncResult(last), timeout=30))  # without its parents, which raise before
"""
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 4))
    assert reply["state"] == "FAILURE"
    assert "not_an_image" in reply["error"]


def test_a_chord_is_counted_once(bare_environment: Path, fleet: Fleet) -> None:
    """The body of a chord gets all answers in order, also those of its own program's tasks."""
    program = f"""{_ASK}
header = group([ask(0), ask(1), ask(0), app.signature("shop.pick", args=["x"], queue="shop")])
reply(outcome(chord(header, total)()))
"""
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 5, 6))
    assert reply["answer"] == {"noted": "shop.total"}
    ((_, _, (answers,), _),) = noted(fleet)
    first, second, again, last = answers
    assert first["text"] == again["text"] != second["text"]
    assert last == {"images": [{"blob": "x"}]}


_END_OF_BODY = "reply(outcome(app.AsyncResult(given['body']), timeout=40))"


def test_a_chord_fails_with_a_part(bare_environment: Path, fleet: Fleet) -> None:
    """A part that fails ends the chord: its caller gets a `ChordError`."""
    program = f"{_ASK}\nreply(chord(group([ask(0), hopeless]), total)().id)"
    # Asked for by its id alone: its parents raise before.
    body = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 7))
    reply = run_caller(bare_environment, fleet, _END_OF_BODY, body=body)
    assert (reply["state"], reply["raised"]) == ("FAILURE", "ChordError")


def test_a_chord_fails_with_a_cancelled_part(bare_environment: Path, fleet: Fleet) -> None:
    """A part that is cancelled in the ledger ends the chord too."""
    redis, program = (
        fleet.redis,
        f"""{_ASK}
result = chord(group([ask(0), ask(1)]), total)()
reply([result.id, *(part.id for part in result.parent)])
""",
    )
    fleet.simulator.configure(latency_s=3)
    body, *parts = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 8, 9))
    until(lambda: all(redis.exists(names.JOB + part) for part in parts), 20, "the jobs")
    fleet.client.cancel(parts[0])
    fleet.simulator.configure(latency_s=0)
    reply = run_caller(bare_environment, fleet, _END_OF_BODY, body=body)
    assert (reply["state"], reply["raised"]) == ("FAILURE", "ChordError")
    assert state_of(fleet, parts[0]) == "cancelled"


def test_a_canvas_outlives_workers(bare_environment: Path, fleet: Fleet) -> None:
    """Chords whose workers are killed, again and again, run each body once."""
    count, size = 20, 5
    fleet.simulator.configure(latency_s=1)
    program = f"""{_ASK}
results = [
    chord(group([ask(n, prompt=f"{{number}}") for n in range({size})]), total.clone())()
    for number in range({count})
]
reply([result.id for result in results])
"""
    before = fleet.counts()["completed"]
    bodies = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, *range(20, 25)))
    for _ in range(4):
        fleet.start_workers(1)
        fleet.workers.pop(0).kill()
    assert fleet.counts()["completed"] < before + count * size  # else nothing was at stake
    fleet.simulator.configure(latency_s=0)
    calls = noted(fleet, count)
    assert sorted(task for _, task, *_ in calls) == sorted(bodies)
    assert all(len(answers) == size for _, _, (answers,), _ in calls)


@pytest.mark.parametrize(("task", "items"), [("map", "{}"), ("starmap", "[{}]")])
def test_a_map_is_refused(bare_environment: Path, fleet: Fleet, task: str, items: str) -> None:
    """Tasks that would call ours within themselves fail by name, and no job is entered."""
    redis = fleet.redis
    jobs = sorted(redis.scan_iter(names.JOB + "*"))
    document = "{'prompt': '?', 'images': [{'blob': given['blobs'][0]}]}"
    program = f"""{_ASK}
kwargs = {{"task": app.signature("visionq.analyze"), "it": [{items.format(document)}]}}
reply(outcome(app.send_task("celery.{task}", kwargs=kwargs, queue="visionq.intake")))
"""
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 40))
    assert "map, starmap, chunks: not supported" in reply["error"]
    assert sorted(redis.scan_iter(names.JOB + "*")) == jobs


def test_a_canvas_is_shown(bare_environment: Path, fleet: Fleet) -> None:
    """The log of deliveries tells of canvases too, without what they carry."""
    program = f"{_ASK}\nreply(outcome(ask().apply_async(link=following)))"
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 30))
    noted(fleet)
    deliveries = latest(fleet.redis, "default", 100)
    (found,) = [one for one in deliveries if one.subject == reply["id"]]
    assert (found.event, found.state) == (names.CANVAS_EVENT, DeliveryState.DELIVERED)


@pytest.mark.parametrize(
    ("option", "canvas"),
    [
        ("link", "chain(following, total)"),
        ("link", "app.signature('shop.next', args=['x' * 300_000])"),
    ],
)
def test_what_can_not_follow_is_refused(
    bare_environment: Path, fleet: Fleet, option: str, canvas: str
) -> None:
    """A canvas that can't be kept fails the job under its option's name, unpaid."""
    before = fleet.simulator.bill()["calls"]
    program = f"{_ASK}\nreply(outcome(ask().apply_async({option}={canvas})))"
    reply = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 31))
    assert reply["state"] == "FAILURE"
    assert option in reply["error"]
    assert fleet.simulator.bill()["calls"] == before
