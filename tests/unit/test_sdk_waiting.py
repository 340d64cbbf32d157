"""The parts of waiting that need no Redis: patience, bookkeeping, and what an end looks like."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from visionq.contract import Api, ResultDocument
from visionq.errors import JobFailed, JobNotFound, QueueUnavailable, Refused
from visionq.ledger import celery_results, error_document
from visionq.ledger.views import _FIELDS
from visionq.names import CELERY_RESULT
from visionq.sdk.arguments import redis_address
from visionq.sdk.results import parse_ends
from visionq.sdk.waiting import AT_ONCE, LONGEST_OUTAGE, Outage, Pending, heard_in
from visionq.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from visionq.sdk.typed import End

DOWN = RedisConnectionError("down")
FOREVER = float("inf")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_patience_grows() -> None:
    """Pauses double up to a second, and begin again after Redis has answered."""
    outage = Outage(Clock())
    pauses = [outage.pause_after(DOWN, FOREVER) for _ in range(6)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    outage.over()
    assert outage.pause_after(DOWN, FOREVER) == 0.1


def test_patience_ends() -> None:
    """An outage of a minute is reported; a shorter deadline is reported when it has passed."""
    clock = Clock()
    outage = Outage(clock)
    outage.pause_after(DOWN, FOREVER)
    clock.now += LONGEST_OUTAGE - 0.05
    assert outage.pause_after(DOWN, FOREVER) == pytest.approx(0.05)
    clock.now += 0.05
    with pytest.raises(QueueUnavailable):
        outage.pause_after(DOWN, FOREVER)
    outage.over()
    assert outage.pause_after(DOWN, clock.now + 0.03) == pytest.approx(0.03)
    with pytest.raises(QueueUnavailable):
        outage.pause_after(DOWN, clock.now)


@pytest.mark.parametrize("error", [AuthenticationError("no"), ResponseError("no such command")])
def test_no_patience(error: Any) -> None:
    """An error that does not pass by itself is raised at once."""
    with pytest.raises(QueueUnavailable):
        Outage(Clock()).pause_after(error, FOREVER)


def test_pending() -> None:
    """Every job is subscribed to once, in portions, and again on a new connection."""
    names = [f"j{number}" for number in range(AT_ONCE + 2)]
    pending = Pending(names)
    assert len(pending.next_channels()) == AT_ONCE
    assert pending.next_channels() == [CELERY_RESULT + name for name in names[-2:]]
    assert pending.next_channels() == []
    pending.discard(names[0])
    pending.forget_subscriptions()
    assert pending.next_channels()[0] == CELERY_RESULT + names[1]


def test_rereading_goes_around() -> None:
    """Reading again takes the jobs in turn, and leaves none out for ever."""
    names = [f"j{number}" for number in range(AT_ONCE * 2)]
    pending = Pending(names)
    seen = pending.next_to_reread() + pending.next_to_reread()
    assert sorted(seen) == sorted(names)
    assert len(pending) == len(names)


def test_heard_in() -> None:
    """Results and confirmations name their job; other messages and channels name none."""
    channel = (CELERY_RESULT + "j1").encode()
    assert heard_in({"type": "message", "channel": channel, "data": b"{}"}) == {"j1": b"{}"}
    assert heard_in({"type": "subscribe", "channel": channel, "data": 1}) == {"j1": None}
    assert heard_in({"type": "unsubscribe", "channel": channel, "data": 0}) == {}
    assert heard_in({"type": "message", "channel": b"visionq:sdk-wake:1", "data": b""}) == {}


RESULT = ResultDocument(id="j1", model="m1", api=Api.RESPONSES, text="да")
SUCCESS = celery_results.success(RESULT.id, RESULT.to_json(), 1.0)
ERROR = error_document(Refused("declined", image="a.png", cost_rub=Decimal("0.5")))


def end(stored: str | None, **fields: str) -> End | None:
    """Read one job from the replies that Redis would give."""
    known = {"lane": "visionq.bulk:t:m1", "pictures": "1", "submitted": "1000"} if fields else {}
    values = {**known, **fields}
    reply = [values[name].encode() if name in values else None for name in _FIELDS]
    return parse_ends(["j1"], [reply, None, stored.encode() if stored else None]).get("j1")


def test_success() -> None:
    """A stored answer is the result, also of a job whose record has expired."""
    assert end(SUCCESS, state="completed") == RESULT
    assert end(SUCCESS) == RESULT


def test_newer_result() -> None:
    """A result with fields that this client does not know of is read all the same."""
    newer = json.loads(SUCCESS)
    newer["result"]["added_later"] = 1
    newer["result"]["usage"]["added_later"] = 1
    assert end(json.dumps(newer), state="completed") == RESULT


def test_failure() -> None:
    """A failed job gives its code, the picture, the cost; it survives a trip between processes."""
    stored = celery_results.failure("j1", ERROR, "Refused", 1.0)
    error = end(stored, state="failed", error=ERROR.to_json())
    assert isinstance(error, JobFailed)
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301  # made in this line
        assert (one.code, one.image, one.cost_rub) == ("refused", "a.png", Decimal("0.5"))
        assert str(one) == "refused: a.png: declined"
        assert one.details["http_status"] == 422


def test_failure_without_record() -> None:
    """A plain Celery message that was refused at the door has its code in Celery's result."""
    error = end(celery_results.failure("j1", ERROR, "Refused", 1.0))
    assert isinstance(error, JobFailed)
    assert error.code == "refused"
    assert "declined" in error.message


@pytest.mark.parametrize("state", ["queued", "hinted", "in_progress", "waiting", "parked"])
def test_under_way(state: str) -> None:
    """A job under way has no end, with any state in Celery."""
    assert end(None, state=state) is None
    assert end(celery_results.retry("j1", "parked: x"), state=state) is None


def test_no_job() -> None:
    """Neither record nor result is an unknown job; a removed result is an error, no wait."""
    assert isinstance(end(None), JobNotFound)
    assert isinstance(end(None, state="completed"), JobNotFound)


def test_addresses() -> None:
    """The address is the given one, else the environment's; a password never gets into an error."""
    settings = Settings(redis_url="redis://of-environment")
    assert redis_address(settings, None) == "redis://of-environment/0"
    assert redis_address(settings, "unix:///given") == "unix:///given"
    with pytest.raises(ConfigurationError, match="VISIONQ_REDIS_URL"):
        redis_address(Settings(), None)
    with pytest.raises(ConfigurationError) as raised:
        redis_address(Settings(), "http://:secret@host")
    assert "secret" not in str(raised.value)
