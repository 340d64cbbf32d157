"""A run in progress: submit jobs, append results to OUT, within `--max-rub`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis.exceptions import RedisError

from producer.run.feeder import LONGEST_OUTAGE
from producer.run.run_progress import in_batches, waits
from producer.run.run_record import answered
from producer.stack import no_worker
from visionq.cli.shared import EXIT_INTERRUPTED, EXIT_OK, EXIT_STOPPED
from visionq.contract import HINTED, DelayReason, State
from visionq.errors import (
    BillingUnknown,
    BlobMissing,
    Cancelled,
    JobNotFound,
    ModelNotFound,
    VisionqError,
)
from visionq.ledger import BudgetScope, celery_results
from visionq.ledger.gates import read_gate
from visionq.ledger.metrics import note_forgotten
from visionq.ledger.provider_batches import (
    BatchState,
    batch_views,
    lines_of_jobs,
    release_pictures,
)
from visionq.names import BATCH, CELERY_RESULT, DUE, JOB, QUEUE_BULK
from visionq.sans_io import run
from visionq.sdk.results import answer_in, read_ends
from visionq.sdk.waiting import Outage, portions
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis import Redis

    from producer.cascade.sampled_rows import RunAudit
    from producer.run.feeder import Feeder, Out, Window
    from producer.run.plan import Question
    from producer.run.run_progress import Tally
    from producer.run.run_record import Record
    from producer.run.waste import WasteBreaker
    from visionq.contract.result import ProviderBatchView
    from visionq.devstack.supervisor import Signals
    from visionq.ledger import Ledger
    from visionq.ledger.gates import Gate
    from visionq.sdk.typed import End

#: Field of the batch: rubles that OUT had cost when the ledger's book of the run was opened.
_PAID_BEFORE: Final = "paid_before"


@dataclass
class RunBudget:
    """The budget of a run's batch in the ledger: `--max-rub` less what OUT had cost before.

    The ledger's book covers every call since the batch began, including those whose rows are not
    in OUT yet. What OUT had cost before is stored with the batch, so that both vanish together
    when Redis is emptied or the batch expires.
    """

    ledger: Ledger
    redis: Redis
    run: str
    limit: Decimal | None
    #: Returns the rubles that the rows of OUT cost.
    paid: Callable[[], Decimal]

    def begin(self) -> None:
        """Set the budget, or remove that of an earlier start."""
        before = self._paid_before()
        if self.limit is not None:
            self._set(self.limit, before)
        elif self.ledger.book(self._scope).limit_rub is not None:
            self.ledger.set_budget(self._scope, None)

    def ensure(self) -> None:
        """Set the budget again if Redis has lost it."""
        if not self.redis.hexists(BATCH + self.run, _PAID_BEFORE):
            self.begin()

    @property
    def _scope(self) -> BudgetScope:
        return BudgetScope.batch(self.run)

    def _set(self, limit: Decimal, before: Decimal) -> None:
        self.ledger.set_budget(self._scope, max(Decimal(0), limit - before))

    def _paid_before(self) -> Decimal:
        """Return the cost of OUT when the batch began; store it once."""
        batch = BATCH + self.run
        stored: Any = self.redis.hget(batch, _PAID_BEFORE)
        if stored is not None:
            return Decimal(stored.decode())
        before = self.paid()
        is_new = not self.redis.exists(batch)
        self.redis.hset(batch, _PAID_BEFORE, str(before))
        if is_new:
            self.redis.expire(batch, self.ledger.options.result_ttl)  # until its first job
        return before


#: States in which no call is in progress.
RESTING: Final = ("queued", "hinted", "waiting", "parked")


def ended(redis: Redis, job_ids: Sequence[str]) -> dict[str, End]:
    """Return the ends of those jobs that have ended, by one MGET for 500 jobs."""
    ends: dict[str, End] = {}
    for few in portions(job_ids):
        stored: list[Any] = redis.mget([CELERY_RESULT + job_id for job_id in few])
        others = []
        for job_id, meta in zip(few, stored, strict=True):
            if meta is None or not celery_results.is_final(meta):
                continue
            answer = answer_in(meta)
            if answer is None:
                others.append(job_id)
            else:
                ends[job_id] = answer
        if others:
            ends |= run(read_ends(redis, others))
    return ends


@dataclass(frozen=True, slots=True)
class RunCounts:
    """The states of the jobs that have not ended."""

    gate: Gate
    #: Jobs that Redis has lost.
    vanished: list[str] = field(default_factory=list)
    #: Jobs that their budget can't cover.
    unaffordable: list[str] = field(default_factory=list)
    #: Jobs whose call may have been billed, and which are not repeated by themselves.
    unknown: list[str] = field(default_factory=list)
    #: `state` or `state (reason)` → jobs.
    states: Counter[str] = field(default_factory=Counter)
    #: Batch at the provider → its jobs of these.
    lines: dict[str, list[str]] = field(default_factory=dict)
    #: These batches, and when that was.
    batches: tuple[ProviderBatchView, ...] = ()
    at: datetime = field(default_factory=partial(datetime.now, UTC))
    #: The message if no worker serves them.
    unserved: str | None = None


def census(redis: Redis, job_ids: Sequence[str]) -> RunCounts:
    """Read the state of every job that has not ended."""
    found = RunCounts(read_gate(redis))
    for few in portions(job_ids):
        with redis.pipeline(transaction=False) as pipeline:
            for job_id in few:
                pipeline.hmget(JOB + job_id, "state", "reason", "line", "online")
                pipeline.zscore(DUE, job_id)
            replies = pipeline.execute()
        for job_id, fields, due in zip(few, replies[::2], replies[1::2], strict=True):
            state, reason, line, online = [value.decode() if value else "" for value in fields]
            if online and state in {State.QUEUED, HINTED}:
                state, reason = State.WAITING, DelayReason.BATCH
            _count(found, job_id, state, reason, comes_back=due is not None)
            if line and state == State.WAITING:
                found.lines.setdefault(line, []).append(job_id)
    found = replace(found, batches=batch_views(redis, sorted(found.lines)))
    if found.states["queued"] and not found.states["in_progress"]:
        return replace(found, unserved=no_worker(redis, QUEUE_BULK))
    return found


def _count(found: RunCounts, job_id: str, state: str, reason: str, *, comes_back: bool) -> None:
    if not state:
        found.vanished.append(job_id)
        return
    if state == State.PARKED and reason == "budget_exhausted":
        found.unaffordable.append(job_id)
    elif state == State.PARKED and reason == BillingUnknown.code and not comes_back:
        found.unknown.append(job_id)
    shown = "queued" if state == "hinted" else state
    found.states[f"{shown} ({reason})" if reason and shown != "queued" else shown] += 1


#: Looks at all jobs take at most this part of the time, as a divisor.
_REST: Final = 5
#: Seconds between two looks for ends, and between two censuses of the other jobs.
_TICK: Final = 0.05
_LONGEST_TICK: Final = 0.25
_CENSUS_EVERY: Final = 2.0
#: Seconds that calls in progress get after a request to stop.
FAREWELL: Final = 30.0
#: Most rows written at a time.
_MOST_ROWS: Final = 2_000


class Outcome(StrEnum):
    """The reason why a session ended."""

    DONE = "done"
    SAMPLED = "sampled"
    """The sample is done, and there are more rows."""
    OUT_OF_BUDGET = "out_of_budget"
    WASTEFUL = "wasteful"
    """Too many of the paid answers fail."""
    UNPROMISED = "unpromised"
    """No threshold of a ladder keeps the promise for less than the last model costs."""
    DISAGREES = "disagrees"
    """Fewer answers of a ladder agree with the last model's than were promised."""
    INTERRUPTED = "interrupted"


#: Outcome → exit code, where no row has failed, and its message.
EXITS: Final = {
    Outcome.DONE: EXIT_OK,
    Outcome.SAMPLED: EXIT_STOPPED,
    Outcome.OUT_OF_BUDGET: EXIT_STOPPED,
    Outcome.WASTEFUL: EXIT_STOPPED,
    Outcome.UNPROMISED: EXIT_STOPPED,
    Outcome.DISAGREES: EXIT_STOPPED,
    Outcome.INTERRUPTED: EXIT_INTERRUPTED,
}
SAID: Final = {
    Outcome.DONE: "done",
    Outcome.SAMPLED: "stopped after the sample; the same command without --first does the rest",
    Outcome.OUT_OF_BUDGET: "stopped by --max-rub; the same command with more goes on",
    Outcome.WASTEFUL: "stopped: paid answers fail; the same command with --max-waste 100 goes on",
    Outcome.UNPROMISED: (
        "stopped after the sample; the same command with --strong rest asks the last model alone"
    ),
    Outcome.DISAGREES: (
        "stopped: agreement is below the promise; the same command with --strong rest asks the last"
        " model about the other rows, and with --strong all about these as well"
    ),
    Outcome.INTERRUPTED: "interrupted; the same command goes on",
}


class Display(Protocol):
    """Shows a session to people."""

    def show(self, tally: Tally, kept_back: str | None, batches: str | None = None) -> None:
        """Show the progress, the reason for a pause, and how far batches are."""
        ...

    def say(self, line: str) -> None:
        """Show a line that remains."""
        ...


@dataclass
class Session:
    """Writes OUT and shows progress in one thread; the feeder's threads fill the window."""

    question: Question
    record: Record
    feeder: Feeder
    window: Window
    ledger: Ledger
    #: Without retries: the session has its own.
    redis: Redis
    tally: Tally
    signals: Signals
    display: Display
    #: Called at every census.
    ensure_budget: Callable[[], None]
    clock: Callable[[], float]
    #: None: paid failures do not stop the run.
    waste: WasteBreaker | None = None
    #: None: the answers are those of one model.
    audit: RunAudit | None = None

    def __post_init__(self) -> None:
        self._census: RunCounts | None = None
        self._census_at = 0.0
        self._rows_then = 0
        self._outage = Outage(self.clock, LONGEST_OUTAGE)
        self._broke = False
        self._written = 0
        #: Jobs that an emptied Redis forgot, and that are not counted in `spend` yet.
        self._forgotten = 0
        #: Seconds that the last one took: the longer, the rarer it is taken.
        self._census_takes = 0.0
        self._fatal: VisionqError | None = None

    def run(self) -> Outcome:
        """Run until all rows are done, the budget is used up, or a signal comes.

        Raises:
            RecordFailed: OUT can't be written.
            ModelNotFound: the provider does not know the model.
            QueueUnavailable: Redis is away too long.
            VisionqError: the source can't be read to its end.
        """
        self.feeder.start()
        self.tally.start(self.clock())
        try:
            while not self._is_over():
                self._step()
                if self.signals.stops:
                    return Outcome.INTERRUPTED
                if self.waste is not None and self.waste.has_tripped:
                    return Outcome.WASTEFUL
                if self.audit is not None and self.audit.has_tripped:
                    return Outcome.DISAGREES
                if self._broke and self._rests_on_budget():
                    return Outcome.OUT_OF_BUDGET
            self.display.show(self.tally, None)
            return Outcome.SAMPLED if self.feeder.more else Outcome.DONE
        finally:
            self.feeder.stop()
            self._part()

    def _is_over(self) -> bool:
        if self.feeder.error is not None:
            raise self.feeder.error
        if self._fatal is not None:
            raise self._fatal
        return self.feeder.read_all and self._written >= self.feeder.begun

    def _step(self) -> None:
        before, pause = self.tally.rows, _LONGEST_TICK
        began = self.clock()
        try:
            self._collect()
            pause = max(pause, _REST * (self.clock() - began))
            if self.clock() - self._census_at > max(_CENSUS_EVERY, _REST * self._census_takes):
                self._take_census()
            self._note_forgotten()
            self._outage.over()
            trouble = self.feeder.trouble
        except RedisError as error:
            trouble = f"Redis does not answer: {error}"
            pause = self._outage.pause_after(error, float("inf"))
        self._show(trouble)
        self.signals.wait(_TICK if self.tally.rows > before else pause)

    def _show(self, trouble: str | None) -> None:
        # A census from before the last rows is out of date.
        known = self._census if self._rows_then == self.tally.rows else None
        kept_back = waits(known, trouble)
        self.tally.rest(self.clock(), rests=kept_back is not None)
        batches = in_batches(known) if known is not None and kept_back is None else None
        self.display.show(self.tally, kept_back, batches)

    def _take_census(self) -> None:
        began = self.clock()
        self.ensure_budget()
        self._census = census(self.redis, self.window.ids())
        self._rows_then = self.tally.rows
        self._act_on(self._census)
        self._census_at = self.clock()
        self._census_takes = self._census_at - began

    # Ends -----------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Write the rows that have ended, and let Redis forget their jobs."""
        self._write(self.feeder.take_ended(_MOST_ROWS))
        self._settle(ended(self.redis, self.window.ids()))

    def _settle(self, ends: dict[str, End]) -> None:
        new: list[dict[str, Any]] = []
        taken = self.window.take(ends)
        for one in taken:
            end = ends[one.job.id]
            if isinstance(end, VisionqError) and self._is_no_end(one, end):
                continue
            new.append(answered(one.place, self.question, one.job, end))
        self._write(new)
        self.ledger.forget([one.job.id for one in taken])

    def _is_no_end(self, one: Out, end: VisionqError) -> bool:
        """Return whether the row goes on although this job has ended."""
        is_missing = end.code == ModelNotFound.code and "model" not in one.row.overrides
        if is_missing and not self.tally.has_answers:
            self._fatal = ModelNotFound(f"{one.job.document.model}: {end.message}")
        elif end.code == JobNotFound.code:
            self._submit_lost([one])
        elif end.code == BlobMissing.code and (one.is_released or not one.created):
            # Its line came back without an answer, and its picture is here.
            self._submit_anew(one)
        elif end.code == Cancelled.code and not one.created:
            # An earlier run of the same command was stopped, and cancelled it.
            self._submit_anew(one)
        else:
            return False
        return True

    def _submit_anew(self, one: Out) -> None:
        forgotten = self.ledger.forget([one.job.id])
        self.feeder.submit_again([one], more_attempts=0 if forgotten else 1)

    def _write(self, new: Sequence[dict[str, Any]]) -> None:
        if not new:
            return
        again = [row for row in new if row["attempt"] > 1]
        earlier = [self.record.index.find(row["id"], row["row"]) for row in again]
        self.record.append(new)
        self._written += len(new)
        if self.waste is not None:
            self.waste.take(new)
        if self.audit is not None:
            self.audit.take(new)
        paid_earlier = sum((one.paid for one in earlier if one is not None), Decimal(0))
        self.tally.take(new, paid_earlier, self.clock())

    # The others -----------------------------------------------------------------------------------

    def _act_on(self, found: RunCounts) -> None:
        if found.vanished:
            lost = self.window.take(found.vanished)
            self.display.say(f"submitted again: {counted(len(lost), 'job')} that Redis has lost")
            self._submit_lost(lost)
        if found.unknown:
            # They are not repeated unasked. An answer that comes after all is counted in `spend`.
            self.ledger.cancel(found.unknown)
            error = BillingUnknown(
                "a call was sent and no answer came: it may have been billed;"
                " --retry-failed asks again"
            )
            self._settle(dict.fromkeys(found.unknown, error))
        self._release_pictures(found)
        if found.unaffordable and not self._broke:
            self._broke = True
            self.display.say("the budget is used up: calls in progress end, no more rows start")
            self.feeder.stop()

    def _release_pictures(self, found: RunCounts) -> None:
        """Make room for the next pictures: the provider has these, and we have their files."""
        out = (one.id for one in found.batches if one.state == BatchState.OUT)
        jobs = self.window.with_pictures(job for batch in out for job in found.lines[batch])
        for few in portions(jobs):
            self.window.release(self.ledger.make(release_pictures(few)))

    def _submit_lost(self, lost: Sequence[Out]) -> None:
        """Submit jobs again that an emptied Redis forgot."""
        self.feeder.submit_again(lost)
        self._forgotten += len(lost)

    def _note_forgotten(self) -> None:
        """Count forgotten jobs in `spend`; separately, so that an error costs no row."""
        if self._forgotten:
            note_forgotten(self.redis, self._forgotten)
            self._forgotten = 0

    def _rests_on_budget(self) -> bool:
        """Return whether only unaffordable jobs are left."""
        found = self._census
        return found is not None and len(found.unaffordable) >= len(self.window)

    # The end --------------------------------------------------------------------------------------

    def _part(self) -> None:
        """Cancel jobs without a call in progress; wait for the others for a while."""
        try:
            self._leave_batches()
            self._withdraw()
            until = self.clock() + FAREWELL
            if len(self.window):
                self.display.say(
                    f"stopping: waiting for {counted(len(self.window), 'call')} in progress, at"
                    f" most {FAREWELL:.0f} s; a second Ctrl-C leaves at once"
                )
            while len(self.window) and self.clock() < until and self.signals.stops < 2:  # noqa: PLR2004  # the second request
                self.signals.wait(_TICK)
                self._collect()
                self.display.show(self.tally, "stopping")
            self._withdraw()
        except RedisError as error:
            self.display.say(f"Redis does not answer ({error}): unfinished jobs stay there")

    def _leave_batches(self) -> None:
        """Leave what batches hold: it is paid for, and the same command takes the answers."""
        held = lines_of_jobs(self.redis, self.window.ids())
        if self.window.take(held):
            self.display.say(
                f"{len(held):,} rows are in batches at the provider, which go on: the same command"
                " takes their answers; `visionq batches cancel` stops a batch"
            )

    def _withdraw(self) -> None:
        for state in RESTING:  # a job that has started meanwhile is left alone
            job_ids = self.window.ids()
            states = zip(job_ids, self.ledger.cancel(job_ids, only=state), strict=True)
            withdrawn = [job_id for job_id, before in states if before == state]
            self.window.take(withdrawn)
            self.ledger.forget(withdrawn)
