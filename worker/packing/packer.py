"""Make batches of jobs that can wait, and collect their results."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.contract import Api
from visionq.errors import (
    BatchApiMissing,
    BillingUnknown,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    VisionqError,
)
from visionq.ledger.provider_batches import (
    Backlog,
    BatchRecord,
    BatchState,
    adopt,
    backlogs,
    batch_lanes,
    begin,
    close,
    has_lines,
    is_wanted,
    open_batches,
    pack,
    read_batch,
    read_support,
    reroute,
    reroute_queued,
    step,
    write_support,
)
from visionq.ledger.scripts import MOST_PER_SCRIPT
from visionq.names import LEDGER_ID
from visionq.pricing.batch_lane import FIRST_GUESS, STOPPING
from worker.packing.deadlines import Deadlines
from worker.packing.filling import BatchFilling
from worker.packing.flex_calls import FlexCalls
from worker.packing.leadership import LeadershipLostError
from worker.packing.settling import Settling, refusal_of_form
from worker.packing.strays import EndedFiles, Strays
from worker.packing.timing import pause_before_look
from worker.provider.batch_files import BatchFile, BatchLineResult
from worker.provider.batches import BatchStatus
from worker.work import work

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from visionq.ledger import Ledger, Registration
    from visionq.ledger.provider_batches import BatchSupport
    from visionq.pricing.batch_lane import BatchTable
    from worker.packing.leadership import Leadership
    from worker.pipeline import Dependencies
    from worker.provider.batches import BatchApi, ProviderBatch
    from worker.threads.heartbeat import Leases

log = structlog.get_logger(__name__)

#: What is known of a line that never came to be asked, and of one that did not come back.
_NOT_ASKED: Final = BatchLineResult("", error_code="batch_cancelled")
_LOST: Final = BatchLineResult("", error_code="line_missing", error_text="no file has it")
#: Batches that are remembered once they are done.
_KEPT: Final = 1000


@dataclass(frozen=True)
class Patience:
    """Waiting times of the packer, in seconds."""

    #: For more jobs, from the first one on, while more keep coming.
    gathering: float = 300
    #: Until a batch that may have been made, and is not listed, is made again.
    listing: float = 300
    #: Until more is tried of a model whose batches were refused.
    resting: float = 300
    #: For moving a file.
    transfer: float = 1860
    #: Until a batch that the provider does not know any more, or whose files it lost, is given up.
    forgotten: float = 26 * 3600
    #: For a batch, as long as none has shown how long it takes: most are done within the hour.
    batch: float = FIRST_GUESS
    #: For stopping a batch, until its lines are back.
    stopping: float = STOPPING
    #: Until one more line is tried of a model that took no batches.
    verdict: float = 24 * 3600
    #: Between two looks for batches that nobody knows.
    strays: float = 600
    #: By which the pauses between two looks at a batch are multiplied.
    looks: float = 1


@dataclass(frozen=True)
class PackerParts:
    """The dependencies of a packer."""

    ledger: Ledger
    dependencies: Dependencies
    #: Runs a task of the process's event loop to its end.
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    leases: Leases
    registration: Registration
    api: BatchApi
    table: BatchTable
    leadership: Leadership
    clock: Callable[[], float]
    patience: Patience = field(default_factory=Patience)
    #: Where the files of batches are while they are written.
    folder: Path | None = None


class Packer:
    """One process of the fleet does it for each key of the provider. Used by one thread."""

    def __init__(self, parts: PackerParts) -> None:
        self._parts = parts
        self._redis = parts.ledger.redis
        self._ledger = parts.ledger
        self._key = parts.registration.key
        self._holder = secrets.token_hex(8)
        self._patience = parts.patience
        self._growing: dict[tuple[str, str], tuple[int, float]] = {}
        self._rests_until: dict[tuple[str, str], float] = {}
        self._strays_at = 0.0
        self._strays = Strays(self._redis, parts.api, parts.clock)
        self._files = EndedFiles(self._redis, parts.api, parts.clock, self._key)
        dependencies = parts.dependencies
        self._flex = FlexCalls(
            parts.ledger, dependencies.prices, dependencies.profile, self._key, parts.clock
        )
        self._deadlines = Deadlines(
            self._ledger, parts.clock, parts.patience.stopping, parts.patience.batch, self._flex
        )
        self._settling = Settling(
            parts.ledger,
            parts.dependencies,
            parts.run,
            parts.registration,
            parts.clock,
            parts.leadership.extend,
        )

    def run(self) -> None:
        """Look at every batch that is not done, then make new ones."""
        if not self._parts.leadership.take():
            return
        try:
            for batch in open_batches(self._redis):
                if batch.key == self._key:
                    self._parts.leadership.extend()
                    self._look_safely(batch)
            self._stop_strays()
            self._deadlines.keep(self._took)
            self._pack_all()
        except LeadershipLostError:
            log.warning("packer.deposed")

    # What is out --------------------------------------------------------------------------------

    def _look_safely(self, batch: BatchRecord) -> None:
        with structlog.contextvars.bound_contextvars(batch=batch.id):
            try:
                self._look(batch)
            except VisionqError as error:
                log.warning("batch.look_failed", state=batch.state, error=error.message)
                is_old = 0 < batch.created < self._now() - self._patience.forgotten
                if is_old and isinstance(error, RequestRejected):
                    self._forget(batch.id, error.message)

    def _forget(self, batch_id: str, cause: str) -> None:
        """Have what is left settled: the provider knows the batch, or its files, no more."""
        log.error("batch.forgotten_by_provider", error=cause)
        if (batch := read_batch(self._redis, batch_id)) is not None:
            self._step(batch, state=BatchState.COLLECTING, status="", cause=cause)

    def _look(self, batch: BatchRecord) -> None:
        if not self._ledger.make(adopt(batch.id, self._holder)):
            return
        match batch.state:
            case BatchState.PACKING | BatchState.UPLOADING:
                # The file was on the disk of a process that has ended.
                self._give_up(batch, "its packer died before it was made")
            case BatchState.CREATING if batch.stop and not batch.asked:
                self._give_up(batch, "it was stopped before it was made")
            case BatchState.CREATING if batch.next_look <= self._now():
                self._create(batch)
            case BatchState.OUT if batch.stop or self._is_in_vain(batch):
                stopped = self._step(batch, state=BatchState.CANCELLING, next_look=0.0)
                self._ask_after(stopped)
            case BatchState.OUT | BatchState.CANCELLING if batch.next_look <= self._now():
                self._ask_after(batch)
            case BatchState.COLLECTING:
                self._collect(batch)
            case BatchState.RETURNING:
                self._return_lines(batch)

    def _is_in_vain(self, batch: BatchRecord) -> bool:
        """Return, when a look is due, whether every job of the batch was cancelled."""
        return batch.next_look <= self._now() and not is_wanted(self._redis, batch.id)

    def _create(self, batch: BatchRecord) -> None:
        """Have the batch made, unless it was: it is searched before anything is sent again."""
        if batch.asked:
            found = self._parts.api.find(batch.id, since=batch.asked - 3600)
            if found is not None:
                self._note_made(batch, found)
                return
            if self._now() < batch.asked + self._patience.listing:
                self._step(batch, next_look=self._now() + self._patience.listing / 10)
                return
        asked_before, now = batch.asked, self._now()
        batch = self._step(batch, asked=now)
        self._parts.leadership.extend(self._patience.transfer)
        try:
            made = self._parts.api.create(batch.file_id, batch.api, batch.id)
        except BillingUnknown as error:
            log.warning("batch.creation_unclear", error=error.message)
            self._step(batch, next_look=self._now() + self._patience.listing / 10)
        except ProviderUnavailable as error:
            log.info("batch.not_created", reason=error.message)
            self._step(batch, asked=asked_before, next_look=now + self._patience.resting / 10)
        except RateLimited as error:
            # Too much is enqueued: it is made when others have ended.
            log.info("batch.creation_put_off", reason=error.message)
            self._rest(batch)
            self._step(batch, asked=asked_before, next_look=now + self._patience.resting)
        except VisionqError as error:
            self._refused(batch, error)
        else:
            self._note_made(batch, made)

    def _note_made(self, batch: BatchRecord, made: ProviderBatch) -> None:
        now = self._now()
        batch = self._step(
            batch,
            state=BatchState.OUT,
            batch_id=made.id,
            created=now,
            status=made.status,
            next_look=now + pause_before_look(0, self._patience.looks),
        )
        log.info("batch.out", provider_id=made.id, lines=batch.lines, model=batch.model)

    def _refused(self, batch: BatchRecord, error: VisionqError) -> None:
        """Nothing was made, and the provider said why."""
        is_missing = isinstance(error, BatchApiMissing)
        goes_online = is_missing or isinstance(error, RequestRejected)
        if goes_online:
            self._note_support(batch, works=False, reason=error.message, only_new=not is_missing)
        self._rest(batch)
        self._give_up(batch, error.message, online=goes_online)

    def _ask_after(self, batch: BatchRecord) -> None:
        seen = self._parts.api.get(batch.batch_id)
        now = self._now()
        told = {"status": seen.status, "completed": seen.completed, "failed": seen.failed}
        if seen.status.is_final:
            self._collect(self._step(batch, state=BatchState.COLLECTING, **told))
            return
        if batch.state is BatchState.CANCELLING and seen.status is not BatchStatus.CANCELLING:
            self._parts.api.cancel(batch.batch_id)
        # One that is stopped is back within minutes, and its jobs may be waiting for that.
        age = 0 if batch.state is BatchState.CANCELLING else now - batch.created
        pause = pause_before_look(age, self._patience.looks)
        self._step(batch, next_look=now + pause, looks=batch.looks + 1, **told)

    def _collect(self, batch: BatchRecord) -> None:
        """Settle every line by the files of the batch, then the rest."""
        self._parts.leadership.extend(self._patience.transfer)
        seen = self._parts.api.get(batch.batch_id) if batch.status else None
        if seen is not None and (reason := self._line_refused(batch, seen)):
            self._note_support(batch, works=False, reason=reason)
            self._give_up(batch, reason, online=True)
            return
        answered = 0
        for file_id in seen.result_file_ids if seen else ():
            if not has_lines(self._redis, batch.id):
                break  # all are settled, and perhaps the files deleted
            answered += self._settling.settle(batch, self._parts.api.lines(file_id))
        if seen is not None and seen.status is BatchStatus.FAILED:
            self._note_invalid(batch, seen)
            return
        lost = self._settling.settle_rest(batch, _LOST)
        if lost:
            log.warning("batch.lines_missing", lines=lost)
        if answered:
            took = seen.ended_at - seen.created_at if seen and seen.ended_at else None
            self._note_support(batch, works=True, took=took)
        self._delete_files(batch, seen)
        self._close(batch)

    def _line_refused(self, batch: BatchRecord, seen: ProviderBatch) -> str:
        """Return why the first line of an unproven lane was refused, or an empty text."""
        if batch.lines != 1 or read_support(self._redis, *self._lane_of(batch)).works:
            return ""
        lines = (line for one in seen.result_file_ids for line in self._parts.api.lines(one))
        profile = self._parts.dependencies.profile
        return refusal_of_form(lines, batch.api, profile, self._now())

    def _note_invalid(self, batch: BatchRecord, seen: ProviderBatch) -> None:
        """Close a lane that never worked; else send the lines online. None was asked."""
        reason = "; ".join(problem.text for problem in seen.problems[:3]) or "it was not taken"
        self._rest(batch)
        if seen.is_over_token_limit:
            # Unless the provider names its limit, half of what was too much is tried next.
            self._note_limit(batch, seen.token_limit or max(1, batch.tokens // 2))
            self._give_up(batch, reason)
            return
        self._note_support(batch, works=False, reason=reason, only_new=True)
        self._give_up(batch, reason, online=True)

    def _give_up(self, batch: BatchRecord, cause: str, *, online: bool = False) -> None:
        log.info("batch.given_up", cause=cause, lines=batch.lines)
        changes = {"state": BatchState.RETURNING, "cause": cause, "goes_online": int(online)}
        self._return_lines(self._step(batch, **changes))

    def _return_lines(self, batch: BatchRecord) -> None:
        self._settling.settle_rest(batch, _NOT_ASKED, online=bool(batch.goes_online))
        self._delete_files(batch, None)
        self._close(batch)

    def _delete_files(self, batch: BatchRecord, seen: ProviderBatch | None) -> None:
        """Delete the files of the batch at the provider."""
        files = seen.result_file_ids if seen else ()
        uploaded = (batch.file_id,) if batch.file_id else self._parts.api.files(batch.id)
        self._files.delete((*uploaded, *files))

    def _close(self, batch: BatchRecord) -> None:
        ttl = self._ledger.options.result_ttl
        self._ledger.make(close(batch.id, self._holder, ttl, _KEPT))
        log.info("batch.done", lines=batch.lines, status=batch.status, cause=batch.cause)

    def _stop_strays(self) -> None:
        if self._now() < self._strays_at or not self._redis.exists(LEDGER_ID):
            return
        self._strays_at = self._now() + self._patience.strays
        self._files.delete_left()
        try:
            self._strays.stop(f"visionq-{self._ledger_id()}-")
        except VisionqError as error:
            log.info("batch.list_unknown", reason=error.message)

    # What is next -------------------------------------------------------------------------------

    def _pack_all(self) -> None:
        waiting = {(one.model, one.api): one for one in backlogs(self._redis)}
        self._growing = {of: seen for of, seen in self._growing.items() if of in waiting}
        for of, backlog in waiting.items():
            self._parts.leadership.extend()
            support = read_support(self._redis, self._key, *of)
            is_refused = support.refuses(self._now(), self._patience.verdict)
            if support.works is False and not is_refused:
                support = replace(support, works=None)  # one line may show that things changed
            if is_refused or not self._parts.dependencies.profile.has_batches(*of):
                self._ask_online(backlog)
            elif self._is_time(backlog, support):
                self._pack(backlog, support)

    def _ask_online(self, backlog: Backlog) -> None:
        """Send jobs that can have no batch online, at flex if possible."""
        lanes = batch_lanes(self._redis, backlog.model, backlog.api)
        if self._flex.seconds(backlog.model) is not None:
            self._flex.send_next(lanes)
            return
        while self._ledger.make(reroute_queued(lanes, MOST_PER_SCRIPT)) is not None:
            self._parts.leadership.extend()

    def _is_time(self, backlog: Backlog, support: BatchSupport) -> bool:
        of, now = (backlog.model, str(backlog.api)), self._now()
        if now < self._rests_until.get(of, 0):
            return False
        if support.works is None and self._out_of(backlog.model):
            return False  # the first one is to show whether the provider takes such lines
        jobs, since = self._growing.get(of, (0, now))
        self._growing[of] = (backlog.jobs, since)
        most = self._parts.table.for_model(backlog.model).lines
        is_enough = backlog.jobs >= most or now - since >= self._patience.gathering
        return is_enough or backlog.jobs <= jobs

    def _out_of(self, model: str) -> list[BatchRecord]:
        of = (self._key, model)
        return [one for one in open_batches(self._redis) if (one.key, one.model) == of]

    def _pack(self, backlog: Backlog, support: BatchSupport) -> None:
        """Fill one batch and have it made."""
        limits = self._parts.table.for_model(backlog.model)
        enqueued = sum(one.tokens for one in self._out_of(backlog.model))
        most = min(limits.enqueued_tokens, support.enqueued_tokens or limits.enqueued_tokens)
        room, is_first = most - enqueued, support.works is None
        if room <= 0 or not (first := self._take(backlog.api, backlog.model)):
            return
        changes = {"enqueued_tokens": room, "lines": 1 if is_first else limits.lines}
        batch = BatchRecord(
            id=f"visionq-{self._ledger_id()}-{secrets.token_hex(6)}",
            state=BatchState.PACKING,
            model=backlog.model,
            api=backlog.api,
            key=self._key,
            begun=self._now(),
        )
        self._ledger.make(begin(batch, self._holder))
        with (
            structlog.contextvars.bound_contextvars(batch=batch.id),
            tempfile.TemporaryDirectory(dir=self._parts.folder, prefix="visionq-") as folder,
        ):
            path = Path(folder, "lines.jsonl")
            with BatchFile(path, limits.model_copy(update=changes)) as file:
                self._fill(batch, file, first, changes["lines"])
            self._growing.pop((backlog.model, str(backlog.api)), None)
            self._send(batch, path)

    def _take(self, api: Api, model: str) -> str | None:
        """Take the next job of the batch lane, if the gate is open."""
        taken = self._ledger.make(pack(self._parts.registration, api, model, 1))
        return taken[0] if taken else None

    def _fill(self, batch: BatchRecord, file: BatchFile, first: str, most: int) -> None:
        parts, filling = self._parts, BatchFilling(batch.id, self._holder, file)
        job_id: str | None = first
        while job_id is not None:
            parts.leadership.extend(600)
            parts.run(work(job_id, parts.dependencies, parts.leases, parts.registration, filling))
            if filling.is_full or file.lines >= most:
                break
            job_id = self._take(batch.api, batch.model)
        if filling.is_full and file.lines == 0:
            self._too_long(batch, job_id)

    def _too_long(self, batch: BatchRecord, job_id: str | None) -> None:
        """Have a line that fits into no batch now wait, or go online."""
        self._rest(batch)
        if job_id is not None and not [one for one in self._out_of(batch.model) if one.lines]:
            self._ledger.make(reroute([job_id]))

    def _send(self, batch: BatchRecord, path: Path) -> None:
        """Upload the file and have the batch made; write each step before it is taken."""
        filled = read_batch(self._redis, batch.id)
        if filled is None or filled.lines == 0:
            self._close(batch)
            return
        batch = self._step(filled, state=BatchState.UPLOADING)
        self._parts.leadership.extend(self._patience.transfer)
        try:
            file_id = self._upload(batch, path)
        except VisionqError as error:
            self._refused(batch, error)
            return
        self._create(self._step(batch, state=BatchState.CREATING, file_id=file_id))

    def _upload(self, batch: BatchRecord, path: Path) -> str:
        try:
            return self._parts.api.upload(path, batch.id)
        except BillingUnknown as error:
            log.warning("batch.upload_unclear", error=error.message)
        # A file alone costs nothing; what arrived of it twice is deleted with the batch.
        for file_id in self._parts.api.files(batch.id):
            self._parts.api.delete(file_id)
        return self._parts.api.upload(path, batch.id)

    # What is known ------------------------------------------------------------------------------

    def _step(self, batch: BatchRecord, **changes: Any) -> BatchRecord:  # noqa: ANN401  # fields of a record
        """Write changes of a record, or stop: it may be another packer's."""
        if not self._ledger.make(step(batch, self._holder, **changes)):
            raise LeadershipLostError
        return replace(batch, **changes)

    def _rest(self, batch: BatchRecord) -> None:
        until = self._now() + self._patience.resting
        self._rests_until[batch.model, str(batch.api)] = until

    def _note_support(
        self,
        batch: BatchRecord,
        *,
        works: bool,
        reason: str = "",
        took: float | None = None,
        only_new: bool = False,
    ) -> None:
        of = self._lane_of(batch)
        known = read_support(self._redis, *of)
        if only_new and known.works:
            return
        times = known.took if took is None else (*known.took, round(took, 1))
        news = replace(known, works=works, reason=reason, took=times, since=self._now())
        write_support(self._redis, *of, news)

    def _lane_of(self, batch: BatchRecord) -> tuple[str, str, Api]:
        return self._key, batch.model, batch.api

    def _note_limit(self, batch: BatchRecord, tokens: int) -> None:
        """Record the provider's limit of enqueued tokens for a model."""
        of = self._lane_of(batch)
        known = read_support(self._redis, *of)
        write_support(self._redis, *of, replace(known, enqueued_tokens=tokens))
        log.info("batch.token_limit", model=batch.model, tokens=tokens)

    def _took(self, model: str) -> tuple[float, ...]:
        """Return how long batches of a model took."""
        supports = (read_support(self._redis, self._key, model, api) for api in Api)
        return tuple(seconds for support in supports for seconds in support.took)

    def _ledger_id(self) -> str:
        """Return the mark of our batches among others of the same key."""
        self._redis.set(LEDGER_ID, secrets.token_hex(4), nx=True)
        stored: Any = self._redis.get(LEDGER_ID)
        return str(stored.decode())

    def _now(self) -> float:
        return self._parts.clock()
