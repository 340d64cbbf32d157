"""What Flower counts is what the ledger counts, of the same run."""

from __future__ import annotations

import base64
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from celery import Celery

from tests.support.fleet import Fleet, jobs, running_fleet
from tests.support.flower import PASSWORD, TABLE, USER, Running, running_flower
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=2) as running:
        yield running


@contextmanager
def watching(folder: Path, fleet: Fleet) -> Iterator[Running]:
    """Run a Flower that has seen every worker."""
    with running_flower(folder, fleet.server.url) as flower:
        until(lambda: len(flower.workers()) == 2, 30, "the workers in Flower")
        yield flower


def counted(flower: Running) -> dict[str, int]:
    """Return what the workers' page counts, all workers together."""
    rows = flower.workers().values()
    kinds = ("task-succeeded", "task-failed", "task-retried")
    return {kind: sum(row.get(kind, 0) for row in rows) for kind in kinds}


def in_ledger(fleet: Fleet) -> dict[str, int]:
    """Return the same as the ledger has it: jobs that ended, and each wait for another attempt."""
    events: list[tuple[bytes, dict[bytes, bytes]]]
    events = fleet.redis.xrange(names.EVENTS)  # type: ignore[assignment]
    told = Counter(fields[b"state"].decode() for _, fields in events)
    return {
        "task-succeeded": fleet.counts()["completed"],
        "task-failed": fleet.counts()["failed"],
        "task-retried": told["waiting"] + told["parked"],
    }


def plain_callers(fleet: Fleet) -> dict[str, str]:
    """Send documents as a plain Celery program does: one good, one broken, one refused."""
    app = Celery(broker=fleet.server.url, backend=fleet.server.url)

    def send(**document: Any) -> str:
        sent = app.send_task("visionq.analyze", kwargs=document, queue=names.QUEUE_INTAKE)
        return str(sent.id)

    def data(content: bytes) -> list[dict[str, str]]:
        return [{"url": "data:image/png;base64," + base64.b64encode(content).decode()}]

    sent = {
        "good": send(prompt="?", images=data(picture(300))),
        "broken": send(prompt="?", images=data(picture(301)[:-30])),
        "refused": send(prompt="?", images=[]),
    }
    app.close()
    return sent


def test_counts_are_the_ledgers(tmp_path: Path, fleet: Fleet) -> None:
    """Succeeded, Failed and Retried of two workers are the ledger's, also after a restart.

    Failed has the refused documents besides, which never became jobs.
    """
    with watching(tmp_path, fleet) as flower:
        fleet.simulator.configure(faults_next=["429", "500", "503", "429", "refusal"])
        for _ in fleet.client.submit_many(jobs(60)):
            pass
        broken = fleet.client.submit(prompt="?", images=[picture(100)[:-30]]).id
        sent = plain_callers(fleet)
        fleet.wait_for_counts(100, completed=60, failed=3)

        wanted = in_ledger(fleet)
        wanted["task-failed"] += 1  # refused
        assert wanted["task-retried"] == 4
        until(lambda: counted(flower) == wanted, 10, lambda: f"{counted(flower)} to be {wanted}")
        shown = flower.tasks()
        for job_id in (broken, sent["broken"]):
            assert shown[job_id]["exception"] == "corrupt_image: picture 1"
        assert shown[sent["refused"]]["exception"] == "invalid_job: images"
        assert shown[sent["good"]]["result"].startswith("completed cost_rub=")
        assert sum(row["retries"] for row in shown.values()) == 4
        assert {row["args"] for row in shown.values()} == {
            "tenant=default model=gpt-6-luna pictures=1",
            "tenant=default model=default pictures=0",
        }
        assert found(flower, "tenant=default state:FAILURE") == 4
        assert found(flower, "изображено") == 0
    with watching(tmp_path, fleet) as again:
        assert again.tasks() == shown
        assert counted(again) == wanted


def found(flower: Running, words: str) -> int:
    """Return how many tasks the search finds."""
    asked = TABLE.replace("search%5Bvalue%5D=", f"search%5Bvalue%5D={quote(words)}")
    return int(flower.data(asked)["recordsFiltered"])


def test_revoke_cancels(tmp_path: Path, fleet: Fleet) -> None:
    """The button of a task that waits ends its job in the ledger; Flower shows it as revoked."""
    with watching(tmp_path, fleet) as flower:
        fleet.simulator.configure(faults={"402": 1.0})
        job_id = fleet.client.submit(prompt="?", images=[picture(400)]).id
        until(
            lambda: reason(flower, job_id) == "parked: insufficient_balance",
            30,
            "the job to be parked",
        )
        path = f"/api/task/revoke/{job_id}"
        assert flower.ask("POST", path, USER, PASSWORD)[0] == 200
        assert fleet.counts()["cancelled"] == 1
        until(lambda: flower.tasks()[job_id]["state"] == "REVOKED", 10, "the task to be revoked")
        assert len(flower.workers()) == 2
        assert flower.ask("POST", path, USER, PASSWORD)[0] == 200


def reason(flower: Running, job_id: str) -> Any:
    return flower.tasks().get(job_id, {}).get("exception")
