"""Batches at the provider: our record of each, its lines, and the jobs that wait for one.

The record is written before the provider is asked for anything, so that no batch is lost or made
twice: a packer that finds one unfinished knows what may have been asked for, and by which mark.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import Api
from visionq.contract.result import ProviderBatchView
from visionq.contract.states import TERMINAL
from visionq.ledger.claims import read_claim, read_fields
from visionq.ledger.scripts import Call
from visionq.names import (
    BATCH_JOBS,
    BATCH_MODELS,
    BATCH_SUPPORT,
    JOB,
    LANE_SIZES,
    PROVIDER_BATCH,
    PROVIDER_BATCH_LINES,
    PROVIDER_BATCHES,
    PROVIDER_BATCHES_DONE,
    QUEUE_BATCH,
    batch_queues,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from redis import Redis

    from visionq.ledger.records import Claim, Registration

#: What a notice begins with that is about a batch at the provider.
BATCH_SUBJECT: Final = "provider-batch:"
#: Seconds that a job which the packer was given may stay unclaimed.
_PATIENCE: Final = 60
#: Batches that a page of all shows.
_MOST_SHOWN: Final = 1000
#: Lines that are read at once.
_PAGE: Final = 200


class BatchState(StrEnum):
    """The state of a batch, written before the provider is asked to do what it names."""

    PACKING = "packing"
    """Lines are written to our own file; the provider knows nothing."""
    UPLOADING = "uploading"
    CREATING = "creating"
    """The file is there. The batch may be: it is searched by its mark before it is asked for."""
    OUT = "out"
    """The provider has it."""
    CANCELLING = "cancelling"
    """It was asked to stop; what it answered already comes back all the same."""
    COLLECTING = "collecting"
    """It has ended; its lines are settled one by one."""
    RETURNING = "returning"
    """It was never made: its lines go back."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch. Times are seconds since the epoch."""

    #: Our own, and the mark by which we know it at the provider.
    id: str
    state: BatchState
    model: str
    api: Api
    #: Id of the provider's key that it is made with.
    key: str
    lines: int = 0
    bytes: int = 0
    tokens: int = 0
    #: Nano-rubles: for all of its lines when they were packed, and what those that came back cost.
    reserved: int = 0
    settled: int = 0
    file_id: str = ""
    #: The provider's.
    batch_id: str = ""
    begun: float = 0
    #: When its creation was first asked for, and when the provider had it.
    asked: float = 0
    created: float = 0
    ended: float = 0
    #: As the provider said at the last look.
    status: str = ""
    completed: int = 0
    failed: int = 0
    #: When to look again, and how often that was in vain.
    next_look: float = 0
    looks: int = 0
    #: Why it came to nothing, and whether its jobs are asked online for that (1) or not (0).
    cause: str = ""
    goes_online: int = 0
    #: Whether the packer stops it: its answers are needed sooner, or an operator said so.
    stop: int = 0


_FIELDS: Final = tuple(one.name for one in fields(BatchRecord))
#: Seconds within which the provider is to answer: its `completion_window`.
WINDOW: Final = 24 * 3600
#: Seconds for which it counts that the provider takes no batches of a model.
VERDICT: Final = 24 * 3600
_NUMBERS: Final = {
    one.name: float if one.type == "float" else int
    for one in fields(BatchRecord)
    if one.type in {"float", "int"}
}


def read_batch(redis: Redis, batch_id: str) -> BatchRecord | None:
    """Return the record of a batch by our own id."""
    stored: Any = redis.hgetall(PROVIDER_BATCH + batch_id)
    if b"state" not in stored:
        return None
    told = {name.decode(): value.decode() for name, value in stored.items()}
    known: dict[str, Any] = {name: told[name] for name in _FIELDS if name in told}
    known |= {name: kind(float(known[name])) for name, kind in _NUMBERS.items() if name in known}
    known["ended"] = known.get("ended", 0) / 1000  # the script writes milliseconds
    known |= {"id": batch_id, "state": BatchState(told["state"]), "api": Api(told["api"])}
    return BatchRecord(**known)


#: Fields of the record that `batch_view` reads.
BATCH_FIELDS: Final = ("state", "status", "lines", "completed", "failed", "begun", "created")


def batch_view(batch_id: str, values: Sequence[bytes | None]) -> ProviderBatchView:
    """Return the public view of a batch from the reply to an HMGET of `BATCH_FIELDS`."""
    state, status, *numbers = [(value or b"").decode() for value in values]
    lines, completed, failed, begun, created = [float(number or 0) for number in numbers]
    return ProviderBatchView(
        id=batch_id,
        state=state,
        status=status,
        lines=round(lines),
        completed=round(completed),
        failed=round(failed),
        begun_at=_moment(begun),
        out_at=_moment(created),
        expires_at=_moment(created and created + WINDOW),
    )


def batch_views(redis: Redis, ids: Sequence[str]) -> tuple[ProviderBatchView, ...]:
    """Return the public views of batches."""
    with redis.pipeline(transaction=False) as pipeline:
        for one in ids:
            pipeline.hmget(PROVIDER_BATCH + one, BATCH_FIELDS)
        return tuple(map(batch_view, ids, pipeline.execute()))


def open_views(redis: Redis, most: int = _MOST_SHOWN) -> tuple[tuple[ProviderBatchView, ...], int]:
    """Return open batches, oldest first, and how many of their lines are unsettled."""
    ids = [one.decode() for one in redis.zrange(PROVIDER_BATCHES, 0, most - 1)]  # type: ignore[union-attr]  # not asynchronous
    with redis.pipeline(transaction=False) as pipeline:
        for one in ids:
            pipeline.hmget(PROVIDER_BATCH + one, BATCH_FIELDS)
            pipeline.hlen(PROVIDER_BATCH_LINES + one)
        replies = pipeline.execute()
    views = tuple(map(batch_view, ids, replies[::2]))
    return views, sum(replies[1::2])


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def open_batches(redis: Redis) -> tuple[BatchRecord, ...]:
    """Return the open batches, oldest first."""
    return _batches(redis, redis.zrange(PROVIDER_BATCHES, 0, -1))


def done_batches(redis: Redis, most: int) -> tuple[BatchRecord, ...]:
    """Return the batches that are done, newest first."""
    return _batches(redis, redis.zrevrange(PROVIDER_BATCHES_DONE, 0, most - 1))


def _batches(redis: Redis, ids: Any) -> tuple[BatchRecord, ...]:  # noqa: ANN401  # what redis-py returns
    found = (read_batch(redis, one.decode()) for one in ids)
    return tuple(one for one in found if one is not None)


@dataclass(frozen=True, slots=True)
class StoredLine:
    """An unsettled line, as stored."""

    token: str
    job: str
    text: str


def has_lines(redis: Redis, batch_id: str) -> bool:
    """Return whether a batch has unsettled lines."""
    return bool(redis.exists(PROVIDER_BATCH_LINES + batch_id))


def is_wanted(redis: Redis, batch_id: str) -> bool:
    """Return whether any job still waits for a line of the batch."""
    for lines in lines_left(redis, batch_id):
        with redis.pipeline(transaction=False) as pipeline:
            for line in lines:
                pipeline.hget(JOB + line.job, "state")
            states = pipeline.execute()
        if any(state is not None and state.decode() not in TERMINAL for state in states):
            return True
    return False


def lines_left(redis: Redis, batch_id: str) -> Iterator[list[StoredLine]]:
    """Yield the unsettled lines of a batch in portions; a line may come twice."""
    cursor = 0
    while True:
        reply: Any = redis.hscan(PROVIDER_BATCH_LINES + batch_id, cursor, count=_PAGE)
        cursor, found = reply
        page = [_line(token.decode(), text.decode()) for token, text in found.items()]
        if page:
            yield page
        if not cursor:
            return


def lines_of(redis: Redis, batch_id: str, tokens: Sequence[str]) -> list[StoredLine]:
    """Return the given lines that are unsettled."""
    texts: Any = redis.hmget(PROVIDER_BATCH_LINES + batch_id, list(tokens))
    return [
        _line(token, text.decode())
        for token, text in zip(tokens, texts, strict=True)
        if text is not None
    ]


def _line(token: str, text: str) -> StoredLine:
    return StoredLine(token, json.loads(text)["job"], text)


def begin(batch: BatchRecord, holder: str) -> Call[bool]:
    """Record the intent to create a batch; `admit` adds its lines."""
    return Call("provider_batch", ("open", batch.id, holder, _plain(batch)), bool)


def adopt(batch_id: str, holder: str) -> Call[bool]:
    """Take over a record and fence its former holder."""
    return Call("provider_batch", ("adopt", batch_id, holder), bool)


def step(batch: BatchRecord, holder: str, **changes: Any) -> Call[bool]:  # noqa: ANN401  # fields of a record
    """Change a record; return false if its state or holder has changed."""
    told = json.dumps(changes)
    return Call("provider_batch", ("step", batch.id, holder, batch.state, told), bool)


def stop(batch_id: str) -> Call[bool]:
    """Ask the packer to stop a batch; return false if it is done."""
    return Call("provider_batch", ("stop", batch_id), bool)


def drop_lines(batch_id: str, tokens: Sequence[str]) -> Call[int]:
    """Remove settled lines; return how many are left."""
    return Call("provider_batch", ("drop", batch_id, *tokens), int)


def close(batch_id: str, holder: str, kept: int, most: int) -> Call[bool]:
    """Close a record without lines; keep the last `most`, for `kept` seconds."""
    return Call("provider_batch", ("close", batch_id, holder, kept, most), bool)


def pack(
    registration: Registration, api: Api, model: str, *, bulk_first: bool = False
) -> Call[str | None]:
    """Take the next job of the batch lane, to be claimed; None: there is none.

    Interactive jobs go before bulk, unless `bulk_first`.
    """
    queues = batch_queues(api)
    ordered = queues[::-1] if bulk_first else queues
    arguments = (registration.pool, model, _PATIENCE * 1000, *ordered)
    return Call("pack", arguments, lambda reply: reply.decode() if reply else None)


def recall(
    batch_id: str, registration: Registration, lease: float, lines: Sequence[StoredLine]
) -> Call[list[Claim | None]]:
    """Claim lines again for the packer; None for a line whose money is settled."""
    arguments: list[str | int] = [
        batch_id,
        registration.worker,
        registration.pool,
        round(lease * 1000),
    ]
    for line in lines:
        arguments += (line.job, line.token)

    def read(reply: list[list[Any]]) -> list[Claim | None]:
        return [
            read_claim(line.job, line.token, known) if "document" in known else None
            for line, known in zip(lines, map(read_fields, reply), strict=True)
        ]

    return Call("recall", tuple(arguments), read)


def reroute(job_ids: Iterable[str], tier: str = "") -> Call[int]:
    """Move jobs from the batch lane to the online lane; return how many moved.

    With `tier`, at that one while time allows.
    """
    return Call("reroute", (tier, *job_ids), int)


def reroute_queued(lanes: Sequence[str], most: int, tier: str = "") -> Call[tuple[str, ...] | None]:
    """Move the next jobs of lanes online, at most `most`; None if none is left."""

    def read(reply: list[Any]) -> tuple[str, ...] | None:
        went, looks = reply
        return tuple(one.decode() for one in went) if looks else None

    return Call("reroute_queued", (tier, most, *lanes), read)


def release_pictures(job_ids: Sequence[str]) -> Call[list[str]]:
    """Release the pictures of jobs whose lines are submitted; return those jobs.

    For who has the pictures: a job whose line comes back without an answer fails, free of charge,
    with `blob_missing`, and has to be entered again.
    """
    return Call("release_pictures", tuple(job_ids), lambda reply: [one.decode() for one in reply])


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs waiting to be packed, of one model and API."""

    model: str
    api: Api
    jobs: int


def backlogs(redis: Redis) -> tuple[Backlog, ...]:
    """Return the backlogs of the batch lane, largest first."""
    sizes: Any = redis.hgetall(LANE_SIZES)
    found: dict[tuple[str, Api], int] = {}
    for name, jobs in sizes.items():
        queue, _, model = name.decode().split(":", 2)
        if queue.startswith(QUEUE_BATCH):
            of = (model, Api(queue.removeprefix(QUEUE_BATCH).partition(".")[0]))
            found[of] = found.get(of, 0) + int(jobs)
    ordered = sorted(found.items(), key=lambda one: -one[1])
    return tuple(Backlog(model, api, jobs) for (model, api), jobs in ordered)


def needed_by(redis: Redis, model: str, until: float) -> list[tuple[str, float]]:
    """Return the jobs needed by `until` (s) with their times, in order."""
    found: Any = redis.zrangebyscore(BATCH_JOBS + model, "-inf", until * 1000, withscores=True)
    return [(one.decode(), moment / 1000) for one, moment in found]


def jobs_with_deadlines(redis: Redis, model: str) -> int:
    """Count the jobs of the batch lane with a deadline."""
    return int(redis.zcard(BATCH_JOBS + model))


def lines_of_jobs(redis: Redis, job_ids: Sequence[str]) -> dict[str, str]:
    """Return job → id of its batch, for jobs in a batch."""
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.hget(JOB + job_id, "line")
        lines = pipeline.execute()
    return {job: line.decode() for job, line in zip(job_ids, lines, strict=True) if line}


def batch_lanes(redis: Redis, model: str, api: Api) -> tuple[str, ...]:
    """Return the lanes of jobs to be packed, of all tenants, interactive ones first."""
    sizes: Any = redis.hkeys(LANE_SIZES)
    parts = [(lane.decode(), lane.decode().split(":", 2)) for lane in sizes]
    return tuple(
        lane
        for wanted in batch_queues(api)
        for lane, (queue, _, of) in parts
        if (queue, of) == (wanted, model)
    )


def models_with_deadlines(redis: Redis) -> tuple[str, ...]:
    """Return the models of batch-lane jobs with a deadline."""
    models: Any = redis.smembers(BATCH_MODELS)
    return tuple(sorted(one.decode() for one in models))


@dataclass(frozen=True, slots=True)
class BatchSupport:
    """Known support for batches, or for flex, of one model and API with one key."""

    #: None: no batch has shown it yet.
    works: bool | None = None
    #: Why not.
    reason: str = ""
    #: Seconds that batches took, the last of them.
    took: tuple[float, ...] = field(default=())
    #: When the verdict was noted.
    since: float = 0.0
    #: Input tokens that may be enqueued, by the provider's own word; None: it said nothing.
    enqueued_tokens: int | None = None

    def refuses(self, now: float, verdict: float = VERDICT) -> bool:
        """Return whether batches were refused less than `verdict` seconds ago."""
        return self.works is False and now < self.since + verdict


#: Of how many batches it is remembered how long they took.
_REMEMBERED: Final = 20


def read_support(redis: Redis, key: str, model: str, api: Api | str) -> BatchSupport:
    """Return the known support; an empty record if unknown."""
    stored: Any = redis.hget(BATCH_SUPPORT, f"{key}:{model}:{api}")
    return parse_support(stored)


def read_all_support(redis: Redis) -> dict[tuple[str, str, str], BatchSupport]:
    """Return the known support of each key, model and API."""
    stored: Any = redis.hgetall(BATCH_SUPPORT)
    found = {}
    for name, text in stored.items():
        key, _, rest = name.decode().partition(":")
        model, _, api = rest.rpartition(":")
        found[key, model, api] = parse_support(text)
    return found


def parse_support(text: bytes | None) -> BatchSupport:
    """Parse an entry; return an empty record if there is none."""
    told: Mapping[str, Any] = json.loads(text) if text else {}
    return BatchSupport(**{**told, "took": tuple(told.get("took", ()))})


def write_support(redis: Redis, key: str, model: str, api: Api | str, known: BatchSupport) -> None:
    """Store the support."""
    redis.hset(BATCH_SUPPORT, *support_entry(key, model, api, known))


def support_entry(key: str, model: str, api: Api | str, known: BatchSupport) -> tuple[str, str]:
    """Return the field name and text of an entry."""
    told = asdict(replace(known, took=known.took[-_REMEMBERED:]))
    return f"{key}:{model}:{api}", json.dumps(told)


def _plain(batch: BatchRecord) -> str:
    return json.dumps({name: getattr(batch, name) for name in _FIELDS if name != "id"})
