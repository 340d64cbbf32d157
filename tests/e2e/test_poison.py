"""Foreign and broken messages in the queues: no worker ends, and each is kept with its reason."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from tests.support.constants import with_constants
from tests.support.fleet import Fleet, jobs, running_fleet
from tests.support.poison import arguments, eight_kinds, envelope, further_kinds
from tests.support.waiting import until
from visionq import names
from visionq.dead_letters import DeadLetters, Reason
from visionq.names import HINT_QUEUES, QUEUE_INTAKE
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

QUEUES = (*HINT_QUEUES, QUEUE_INTAKE)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("poison"), workers=1, concurrency=4) as fleet:
        yield fleet


def redis_of(fleet: Fleet) -> Redis:
    return fleet.redis


@contextmanager
def survived_by(fleet: Fleet) -> Iterator[DeadLetters]:
    """Expect the same worker to complete a good job after what is done here."""
    (worker,), registered = fleet.workers, fleet.registered()
    redis_of(fleet).delete(names.DEAD_LETTERS)
    letters = DeadLetters(redis_of(fleet))
    yield letters
    (job,) = fleet.client.submit_many(jobs(1))
    fleet.client.wait(job, timeout=20)
    assert worker.poll() is None, (fleet.logs / "worker-0.log").read_text()[-3000:]
    assert fleet.registered() == registered


def reasons(letters: DeadLetters) -> list[str]:
    return sorted(letter.reason for letter in letters.latest())


@pytest.mark.parametrize("queue", QUEUES)
def test_eight_kinds_of_poison(fleet: Fleet, queue: str) -> None:
    """Each kind is kept with its reason and queue, and the worker goes on with the next job."""
    kinds = eight_kinds(queue)
    with survived_by(fleet) as letters:
        redis_of(fleet).lpush(queue, *(message for message, _ in kinds.values()))
        wanted = sorted(str(reason) for _, reason in kinds.values())
        until(lambda: len(reasons(letters)) >= len(wanted), 30, lambda: str(reasons(letters)))
    found = list(letters.latest())
    assert reasons(letters) == wanted
    assert {letter.queue for letter in found} == {queue}
    assert all(letter.is_whole for letter in found)


def test_whatever_else_ends_a_worker(fleet: Fleet) -> None:
    """Messages that look like Celery's, and are not, are kept as well."""
    kinds = further_kinds(names.QUEUE_INTAKE)
    with survived_by(fleet) as letters:
        for name, (message, reason) in kinds.items():
            before = {letter.id for letter in letters.latest()}
            redis_of(fleet).lpush(names.QUEUE_INTAKE, message)
            until(lambda: len(reasons(letters)) > len(before), 10, name)  # noqa: B023  # called here
            (letter,) = [found for found in letters.latest() if found.id not in before]
            assert (name, letter.reason) == (name, str(reason))


def test_who_waits_for_a_bad_message_is_told(fleet: Fleet) -> None:
    """The result of a message with a readable id is a failure with `invalid_job`."""
    caller = Celery(broker=fleet.server.url, backend=fleet.server.url)
    kinds = {
        "unknown": envelope(names.QUEUE_INTAKE, arguments(), task="shop.resize", task_id="unknown"),
        "broken": envelope(names.QUEUE_INTAKE, b"[[", task_id="broken"),
        "wrong": envelope(names.QUEUE_INTAKE, arguments(colour="red"), task_id="wrong"),
    }
    with survived_by(fleet):
        redis_of(fleet).lpush(names.QUEUE_INTAKE, *kinds.values())
        for task_id in kinds:
            with pytest.raises(Exception, match="invalid_job"):
                caller.AsyncResult(task_id).get(timeout=20)


def test_seen_replayed_and_dropped_from_the_command_line(fleet: Fleet) -> None:
    """A letter is listed without its content, goes back as it came, or is forgotten."""
    secret = "a very private prompt"  # noqa: S105  # no password
    document = {"prompt": secret, "images": [{"url": "https://example.com/a.png"}]}
    with survived_by(fleet) as letters:
        message = envelope(names.QUEUE_INTAKE, arguments(**document), task="shop.resize")
        redis_of(fleet).lpush(names.QUEUE_INTAKE, message)
        until(lambda: reasons(letters) == [Reason.UNKNOWN_TASK], 10, "a letter")
        (listed,) = fleet.read("dead-letters", "list")
        shown = fleet.read("dead-letters", "show", listed["id"])
        assert (listed["task"], listed["queue"]) == ("shop.resize", names.QUEUE_INTAKE)
        assert secret not in json.dumps([listed, shown])
        assert shown["shape"]["body"][1]["prompt"] == f"text of {len(secret)} characters"
        assert fleet.read("dead-letters", "replay", listed["id"]) == [
            {"id": listed["id"], "done": True}
        ]
        until(lambda: [x.id for x in letters.latest()] not in ([], [listed["id"]]), 10, "again")
        (again,) = fleet.read("dead-letters", "list", "--reason", "unknown_task")
        assert fleet.read("dead-letters", "drop", again["id"]) == [
            {"id": again["id"], "done": True}
        ]
        assert fleet.read("dead-letters", "list") == []


def test_dead_letters_are_bounded(tmp_path: Path) -> None:
    """However many broken messages come, no more stay than are allowed, the latest."""
    extra = with_constants(
        tmp_path / "constants", Settings, dead_letters_kept=3, dead_letters_bytes=10_000
    )
    with running_fleet(tmp_path, workers=1, concurrency=2, extra=extra) as small:
        letters = DeadLetters(redis_of(small))
        redis_of(small).lpush(names.QUEUE_INTAKE, *(f"bad {number}" for number in range(9)))
        redis_of(small).lpush(names.QUEUE_INTAKE, "x" * 6000)
        until(lambda: [x.bytes for x in letters.latest()][:1] == [6000], 15, "the last")
        found = list(letters.latest())
        assert [letters.raw(letter.id) for letter in found[1:]] == [b"bad 8", b"bad 7"]
        assert (found[0].is_whole, found[0].kept_bytes) == (False, 4096)
