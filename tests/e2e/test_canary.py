"""Prompts, pictures, answers and keys stay where they belong: in the ledger and at the provider."""

from __future__ import annotations

import base64
import random
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from PIL import Image

from tests.support.fleet import Fleet, running_fleet
from tests.support.flower import PASSWORD, TABLE, Running, running_flower
from tests.support.pictures import data_url
from tests.support.waiting import until
from visionq import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)

PROMPT = "canary-question"
KEY = "sk-canary-key-5d21"
#: Above the share of Redis's memory at which the ledger takes no more jobs.
FULL = 0.88
#: Faults whose errors say most: each way in which an answer can be none.
FAULTS = ["429", "500", "html_200", "error_200", "broken_json", "refusal", "incomplete"]
SEEN = {"worker-heartbeat"} | {
    f"task-{what}" for what in ("received", "started", "succeeded", "failed", "retried")
}


def noise(seed: int) -> bytes:
    """Return a PNG whose bytes nothing else has."""
    target = BytesIO()
    Image.frombytes("RGB", (48, 40), random.Random(seed).randbytes(48 * 40 * 3)).save(target, "PNG")
    return target.getvalue()


@dataclass(frozen=True)
class Secrets:
    """What may be found nowhere, as bytes."""

    words: tuple[bytes, ...]

    def found_in(self, text: bytes | str) -> list[bytes]:
        content = text if isinstance(text, bytes) else text.encode()
        return [word for word in self.words if word in content]


def secrets(pictures: list[bytes], answer: str) -> Secrets:
    """Return the canaries: the words, and pieces of each picture, raw and in base64."""
    words = [word.encode() for word in (PROMPT, KEY, PASSWORD, answer, "iVBORw0KGgo")]
    for content in pictures:
        encoded = base64.b64encode(content)
        words += [content[200:216], encoded[: len(encoded) // 2][-24:], encoded[-48:-24]]
    return Secrets(tuple(words))


@contextmanager
def captured_events(redis_url: str) -> Iterator[list[dict[str, Any]]]:
    """Collect every event that anybody sends, as any listener could."""
    seen: list[dict[str, Any]] = []
    app = Celery("listener", broker=redis_url)
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None}, daemon=True)
        thread.start()
        until(lambda: bool(seen), 30, "the first event")  # a heartbeat
        try:
            yield seen
        finally:
            receiver.should_stop = True
            thread.join(10)
    app.close()


def sdk_jobs(fleet: Fleet) -> list[bytes]:
    """Submit jobs that end in every way; return their pictures."""
    fleet.simulator.configure(faults_next=FAULTS)
    pictures = [noise(number) for number in range(20)]
    for number, content in enumerate(pictures):
        shown = content[:-40] if number % 5 == 4 else content
        fleet.client.submit(prompt=f"{PROMPT} {number}", images=[shown])
    return pictures


def plain_jobs(app: Celery) -> list[bytes]:
    """Send what plain callers send, rightly and wrongly; return their pictures."""
    pictures = [noise(number) for number in range(100, 104)]
    images = [{"url": data_url(content)} for content in pictures]
    right = {"prompt": PROMPT, "images": images[:2]}
    wrong: list[dict[str, Any]] = [
        {"prompt": [PROMPT], "images": images},
        {"prompt": PROMPT, "images": images[2]["url"]},
        {"prompt": PROMPT, "images": [images[2]["url"]]},
        {"prompt": PROMPT, "images": images, "temperature": PROMPT},
        {"prompt": PROMPT, "images": images, "question": PROMPT},
        {"prompt": PROMPT, "images": [{"url": images[3]["url"][:-41]}]},
        {"prompt": PROMPT, "images": [{"url": images[3]["url"][:-40]}]},
    ]
    queue = names.QUEUE_INTAKE
    app.send_task("visionq.analyze", kwargs=right, queue=queue)
    app.send_task("visionq.analyze", kwargs=right, queue=queue, countdown=3)
    for document in wrong:
        app.send_task("visionq.analyze", kwargs=document, queue=queue)
    app.send_task("visionq.analyze", args=[PROMPT, images], queue=queue)
    app.send_task("visionq.analyse", kwargs=right, queue=queue)
    app.send_task("visionq.run", kwargs=right, queue=queue)
    return pictures


def telling_caller(fleet: Fleet, content: bytes) -> str:
    """Send a task from a program whose own Celery tells everybody what it sends; return its id.

    That event is not ours to mask, but what Flower makes of it is. No worker's event follows it.
    """
    with Celery(broker=fleet.server.url, backend=fleet.server.url) as app:
        app.conf.task_send_sent_event = True
        kwargs = {"prompt": PROMPT, "images": [{"url": data_url(content)}]}
        return str(app.send_task("visionq.analyze", kwargs=kwargs, queue="not-ours").id)


def everything_in(flower: Running) -> str:
    """Return every page and call of the API that shows tasks or workers, one after the other."""
    paths = ["/", "/workers", "/workers?json=1", "/tasks", TABLE, "/broker", "/metrics"]
    paths += ["/api/tasks", "/api/workers?refresh=1", "/api/task/types", "/api/queues/length"]
    for worker in flower.workers():
        paths += [f"/worker/{worker}", f"/api/workers?refresh=1&workername={worker}"]
    for task in flower.tasks():
        paths += [f"/task/{task}", f"/api/task/info/{task}", f"/api/task/result/{task}"]
    return "\n".join(flower.read(path)[1] for path in paths)


@contextmanager
def full_ledger(fleet: Fleet) -> Iterator[None]:
    """Leave the ledger no room, so that documents wait with the workers that took them."""
    redis = fleet.redis
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", int(used / FULL))
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


def test_nothing_leaks(tmp_path: Path) -> None:
    """No event, page, file or log has a word of a prompt, an answer, a picture or a key.

    Logs at their most talkative, for jobs of the SDK and of plain Celery callers, well-formed or
    not, through every end.
    """
    options = {"PROXYAPI_API_KEY": KEY, "VISIONQ_LOG_LEVEL": "DEBUG"}
    with (
        running_fleet(tmp_path, workers=1, extra=options) as fleet,
        running_flower(tmp_path, fleet.server.url) as flower,
        Celery(broker=fleet.server.url, backend=fleet.server.url) as app,
    ):
        until(lambda: bool(flower.workers()), 30, "the worker in Flower")
        with captured_events(fleet.server.url) as events:
            pictures = sdk_jobs(fleet) + plain_jobs(app)
            until(lambda: is_settled(fleet, 22), 100, lambda: f"{fleet.counts()} to end")
            with full_ledger(fleet):
                app.send_task(
                    "visionq.analyze",
                    kwargs={"prompt": PROMPT, "images": [{"url": data_url(pictures[0])}]},
                    queue=names.QUEUE_INTAKE,
                )
                held: list[str] = []
                until(lambda: is_held(app, held), 30, "a document with a worker")
                held.append(everything_in(flower))
            until(lambda: is_settled(fleet, 23), 60, lambda: f"{fleet.counts()} to end")
        answer = answer_of(fleet)
        sent = telling_caller(fleet, pictures[0])
        until(lambda: sent in flower.tasks(), 30, "the task that was sent")
        pages = everything_in(flower)
    canaries = secrets(pictures, answer)
    logs = {path.name: path.read_bytes() for path in tmp_path.rglob("*.log")}
    assert {"redis.log", "simulator.log"} < set(logs)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("visionq-flower*"))

    assert {event["type"] for event in events} >= SEEN
    assert canaries.found_in(repr(events)) == []
    assert "tenant=default model=gpt-6-luna pictures=2" in pages
    assert canaries.found_in("".join(held)) == []
    assert canaries.found_in(pages) == []
    assert sent.encode() in kept
    assert canaries.found_in(kept) == []
    for name, text in logs.items():
        assert text, name
        assert canaries.found_in(text) == [], name


def is_settled(fleet: Fleet, jobs: int) -> bool:
    """Return whether this many jobs have ended, or wait for a person to look at their bill."""
    counts = fleet.counts()
    return counts.get("completed", 0) + counts.get("failed", 0) + counts.get("parked", 0) >= jobs


def is_held(app: Celery, said: list[str]) -> bool:
    """Ask workers what they hold as anybody can, and keep what they say; return if it is much."""
    said.append(repr(app.control.inspect(timeout=1).active()))
    return "'acknowledged': False" in said[-1]


def answer_of(fleet: Fleet) -> str:
    """Return what the model said of a picture that nothing else says."""
    job = fleet.client.submit(prompt="?", images=[noise(500)])
    text = str(fleet.client.wait(job, timeout=30).text)
    assert len(text) > 10
    return text
