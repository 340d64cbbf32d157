"""Waiting for jobs to end: what the sync and the async way have in common, and the sync way.

A job's end is published on the channel of its Celery result. The subscription is confirmed by a
message of its own, and only that message leads to reading the job's state, so no end falls between
the two. Whatever is missed all the same (a subscriber that Redis dropped) is found by reading again
every few seconds.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import AuthenticationError, AuthorizationError, RedisError

from visionq.errors import WaitTimeout
from visionq.names import CELERY_RESULT
from visionq.redis_connection import TRANSIENT_ERRORS, as_queue_unavailable
from visionq.sdk import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from redis import Redis
    from redis.client import PubSub

    from visionq.sdk.reading import End

#: Seconds after which the state is read although nothing was heard.
REREAD: Final = 3.0
#: Seconds for one reply of Redis; a deadline may be missed by so much when Redis hangs.
REPLY: Final = 5.0
#: Seconds without Redis after which waiting ends in `QueueUnavailable`.
LONGEST_OUTAGE: Final = 60.0
#: Jobs subscribed to, or read, in one round trip.
AT_ONCE: Final = 500

#: redis-py counts these among the connection's faults, and they do not pass.
_REFUSALS: Final = (AuthenticationError, AuthorizationError)
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0


class Outage:
    """Tells how long to pause before the next try while Redis does not answer."""

    def __init__(self, clock: Callable[[], float], longest: float = LONGEST_OUTAGE) -> None:
        self._clock = clock
        self._longest = longest
        self.over()

    def over(self) -> None:
        """Redis has answered."""
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def pause_after(self, error: RedisError, deadline: float) -> float:
        """Return the seconds to pause.

        Raises:
            QueueUnavailable: Redis is away for too long, or beyond the deadline, or refuses us.
        """
        now = self._clock()
        self._since = now if self._since is None else self._since
        end = min(deadline, self._since + self._longest)
        passing = isinstance(error, TRANSIENT_ERRORS) and not isinstance(error, _REFUSALS)
        if not passing or now >= end:
            with as_queue_unavailable():
                raise error
        pause, self._pause = self._pause, min(_LONGEST_PAUSE, self._pause * 2)
        return min(pause, end - now)


class Pending:
    """The jobs not yet seen to have ended: those to subscribe to first, those to read again."""

    def __init__(self, job_ids: Iterable[str]) -> None:
        self._jobs = dict.fromkeys(job_ids)
        self.forget_subscriptions()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def forget_subscriptions(self) -> None:
        """Begin anew, on a new connection."""
        self._not_subscribed = dict.fromkeys(self._jobs)

    def add(self, job_id: str) -> None:
        """Wait for one more."""
        self._jobs[job_id] = None
        self._not_subscribed[job_id] = None

    def discard(self, job_id: str) -> None:
        """Wait for one less."""
        self._jobs.pop(job_id, None)
        self._not_subscribed.pop(job_id, None)

    def next_channels(self) -> list[str]:
        """Return the next channels to subscribe to, once."""
        few = list(islice(self._not_subscribed, AT_ONCE))
        for job_id in few:
            del self._not_subscribed[job_id]
        return [CELERY_RESULT + job_id for job_id in few]

    def among(self, job_ids: Iterable[str]) -> list[str]:
        """Return those of the jobs that are waited for, each once."""
        return [job_id for job_id in dict.fromkeys(job_ids) if job_id in self._jobs]

    def without(self, ends: Mapping[str, End]) -> dict[str, End]:
        """Wait no longer for the jobs that have ended; return those that were waited for."""
        found = {job_id: end for job_id, end in ends.items() if job_id in self._jobs}
        for job_id in found:
            self.discard(job_id)
        return found

    def next_to_reread(self) -> list[str]:
        """Return the jobs that were not read for the longest time."""
        few = list(islice(self._jobs, AT_ONCE))
        for job_id in few:
            del self._jobs[job_id]
            self._jobs[job_id] = None
        return few


def told(message: dict[str, Any]) -> dict[str, bytes | None]:
    """Return the job that a message is about, with its published result.

    The confirmation of a subscription tells of a job whose state is to be read, and no result.
    """
    if message["type"] not in {"message", "subscribe"}:
        return {}
    channel: str = message["channel"].decode()
    if not channel.startswith(CELERY_RESULT):
        return {}
    result = message["data"] if message["type"] == "message" else None
    return {channel.removeprefix(CELERY_RESULT): result}


def answers(heard: Mapping[str, bytes | None]) -> dict[str, End]:
    """Return the answers among published results; other ends have to be read."""
    found = {job_id: reading.answer_in(result) for job_id, result in heard.items()}
    return {job_id: answer for job_id, answer in found.items() if answer is not None}


def timeout_error(unfinished: int, timeout: float | None) -> WaitTimeout:
    """Say that the time is up."""
    jobs = "the job has" if unfinished == 1 else f"{unfinished:,} jobs have"
    return WaitTimeout(f"{jobs} not ended within {timeout or 0:g} s, and will go on")


def ends(
    redis: Redis, job_ids: Iterable[str] | Pending, timeout: float | None
) -> Generator[tuple[str, End], None, None]:
    """Yield each job once it has ended, over one subscription.

    To a `Pending` of the caller's own, jobs may be added between two that are yielded.

    Raises:
        WaitTimeout: `timeout` seconds have passed.
        QueueUnavailable: Redis is away for a minute, or when the time is up.
    """
    clock = time.monotonic
    pending = job_ids if isinstance(job_ids, Pending) else Pending(job_ids)
    outage = Outage(clock)
    deadline = float("inf") if timeout is None else clock() + timeout
    while pending:
        try:
            yield from _stored_answers(redis, pending)
            for found in _listen(redis, pending, deadline, clock):
                outage.over()
                yield from found.items()
        except RedisError as error:
            time.sleep(outage.pause_after(error, deadline))
        else:
            if pending:
                raise timeout_error(len(pending), timeout)


def _stored_answers(redis: Redis, pending: Pending) -> Iterator[tuple[str, End]]:
    """Yield the jobs that have their answers already: nobody need listen for those."""
    for few in portions(list(pending)):
        keys = [CELERY_RESULT + job_id for job_id in few]
        stored: list[bytes | None] = redis.mget(keys)  # type: ignore[assignment]  # never decoded
        yield from pending.without(answers(dict(zip(few, stored, strict=True)))).items()


def _listen(
    redis: Redis, pending: Pending, deadline: float, clock: Callable[[], float]
) -> Iterator[dict[str, End]]:
    """Yield what has ended, possibly nothing, after each reading, until the deadline."""
    pending.forget_subscriptions()
    with _subscriber(redis) as pubsub:
        reread_at = clock() + REREAD
        while pending:
            channels = pending.next_channels()
            if channels:
                pubsub.subscribe(*channels)
            heard = _heard(pubsub, min(deadline, reread_at) - clock())
            last = clock() >= deadline
            yield pending.without(answers(heard))
            job_ids = list(pending) if last else pending.among(heard)
            if clock() >= reread_at:
                job_ids += pending.next_to_reread()
                reread_at = clock() + REREAD
            for few in portions(job_ids):
                yield pending.without(read_ends(redis, few))
            if last:
                return


def _subscriber(redis: Redis) -> PubSub:
    """Return a connection to subscribe with."""
    pubsub: PubSub = redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py's gap
    return pubsub


def _heard(pubsub: PubSub, seconds: float) -> dict[str, bytes | None]:
    """Wait for a message, then take those that are there already."""
    heard: dict[str, bytes | None] = {}
    message = pubsub.get_message(timeout=max(0.0, seconds))
    while message is not None and len(heard) < AT_ONCE:
        heard |= told(message)
        message = pubsub.get_message(timeout=0)
    return heard


def read_ends(redis: Redis, job_ids: Sequence[str]) -> dict[str, End]:
    """Return the ends of those jobs that have ended, in one round trip."""
    with redis.pipeline(transaction=False) as pipeline:
        reading.ask(pipeline, job_ids)
        return reading.read(job_ids, pipeline.execute())


def portions(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split what is too much for one round trip."""
    return (job_ids[start : start + AT_ONCE] for start in range(0, len(job_ids), AT_ONCE))
