"""Calls that go through however long Redis is away."""

from __future__ import annotations

import pytest
from redis import exceptions as redis_errors

from tests.support.worker_parts import Clock
from visionq.errors import QueueUnavailable
from worker.redis_retry import retry_until_redis_returns


class Failing:
    """Fails this many times with an error, then answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left = times
        self.error = error

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return "done"


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ConnectionError("refused"),
        redis_errors.TimeoutError("slow"),
        redis_errors.BusyLoadingError("loading"),
        redis_errors.ReadOnlyError("a replica"),
        redis_errors.OutOfMemoryError("full"),
        redis_errors.AuthenticationError("a password that is being changed"),
        redis_errors.ResponseError("MISCONF Errors writing to the AOF file: No space left"),
        redis_errors.ResponseError(
            "Error running script (call to f_1): @user_script:2: -OOM command not allowed when used"
        ),
        redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write."),
    ],
    ids=lambda error: str(error)[:10],
)
def test_waits_it_out(error: Exception) -> None:
    """A transient error is waited for, with pauses that grow to two seconds."""
    clock = Clock()
    assert retry_until_redis_returns(Failing(8, error), clock.sleep) == "done"
    assert clock.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2]


@pytest.mark.parametrize(
    "error", [redis_errors.ResponseError("WRONGTYPE of key"), ValueError("no number")]
)
def test_tells_what_does_not_pass(error: Exception) -> None:
    """An error that would come again is not repeated."""
    clock = Clock()
    with pytest.raises(type(error)):
        retry_until_redis_returns(Failing(1, error), clock.sleep)
    assert clock.slept == []


def test_gives_up_where_nothing_is_at_stake() -> None:
    """With an end to its patience it says so, instead of keeping its thread from ending."""
    clock = Clock()
    with pytest.raises(QueueUnavailable, match="refused"):
        retry_until_redis_returns(
            Failing(99, redis_errors.ConnectionError("refused")), clock.sleep, patience=3
        )
    assert sum(clock.slept) == pytest.approx(3.1)
