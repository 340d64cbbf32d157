"""Look at the batches under way: have them made, ask how they are, collect their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.errors import (
    AccessDenied,
    BatchApiMissing,
    BillingUnknown,
    ProviderUnavailable,
    QueueUnavailable,
    RateLimited,
    RequestRejected,
    VisionqError,
)
from visionq.ledger.provider_batches import (
    BatchState,
    has_lines,
    is_wanted,
    open_batches,
    read_batch,
)
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.packing.leadership import LeadershipLostError
from worker.packing.settling import Settling, refusal_of_form
from worker.packing.timing import pause_before_look
from worker.provider.batch_files import BatchLineResult
from worker.provider.batches import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from visionq.ledger.provider_batches import BatchRecord
    from worker.packing.bookkeeping import Bookkeeping
    from worker.packing.packer_parts import PackerParts
    from worker.packing.strays import EndedFiles
    from worker.provider.batches import ProviderBatch

log = structlog.get_logger(__name__)

#: What is known of a line that never came to be asked, and of one that did not come back.
_NOT_ASKED: Final = BatchLineResult("", error_code="batch_cancelled")
_LOST: Final = BatchLineResult("", error_code="line_missing", error_text="no file has it")


@dataclass(frozen=True, slots=True)
class _Failing:
    """Looks at one batch that fail, one after the other; times are seconds since the epoch."""

    since: float
    until: float


class UnderWay:
    """The batches of one key that are not done."""

    def __init__(
        self, parts: PackerParts, books: Bookkeeping, files: EndedFiles, tend: Callable[[], None]
    ) -> None:
        """Keep them by `books`; `tend` is called between the lines of a file."""
        self._parts = parts
        self._books = books
        self._files = files
        self._tend = tend
        self._redis = parts.ledger.redis
        self._patience = parts.patience
        self._failing: dict[str, _Failing] = {}
        self._settling = Settling(
            parts.ledger,
            parts.dependencies,
            parts.run,
            parts.registration,
            parts.clock,
            self._go_on,
        )

    def look_at_all(self, but: str = "") -> None:
        """Do what is due with each batch, but with that one."""
        batches = [one for one in open_batches(self._redis) if one.key == self._books.key]
        self._failing = {
            one.id: self._failing[one.id] for one in batches if one.id in self._failing
        }
        for batch in batches:
            if batch.id != but:
                self._parts.leadership.extend()
                self._look_safely(batch)

    def _look_safely(self, batch: BatchRecord) -> None:
        """Look at a batch; after a failure, leave it alone for a while."""
        failing = self._failing.get(batch.id)
        if failing and self._now() < failing.until and not batch.stop:
            return
        with structlog.contextvars.bound_contextvars(batch=batch.id):
            try:
                self._look(batch)
            except (LeadershipLostError, QueueUnavailable, *TRANSIENT_ERRORS):
                raise
            except VisionqError as error:
                log.warning("batch.look_failed", state=batch.state, error=error.message)
                self._note_failure(batch.id)
                if self._is_hopeless(batch, error):
                    self._forget(batch.id, error.message)
            except Exception:
                log.exception("batch.look_crashed", state=batch.state)
                self._note_failure(batch.id)
            else:
                self._failing.pop(batch.id, None)

    def _note_failure(self, batch_id: str) -> None:
        now = self._now()
        since = self._failing[batch_id].since if batch_id in self._failing else now
        pause = pause_before_look(now - since, self._patience.looks)
        self._failing[batch_id] = _Failing(since, now + pause)

    def _is_hopeless(self, batch: BatchRecord, error: VisionqError) -> bool:
        """Return whether a failed look was the last one."""
        if batch.stop and batch.state is BatchState.COLLECTING:
            return True  # an operator gives it up
        return self._is_overdue(batch) and isinstance(error, RequestRejected)

    def _is_overdue(self, batch: BatchRecord) -> bool:
        return 0 < (batch.created or batch.asked) < self._now() - self._patience.forgotten

    def _forget(self, batch_id: str, cause: str) -> None:
        """Settle what is left as unknown: the provider returns no more of it."""
        log.error("batch.forgotten_by_provider", error=cause)
        self._failing.pop(batch_id, None)
        if (batch := read_batch(self._redis, batch_id)) is not None:
            self._books.step(batch, state=BatchState.COLLECTING, status="", cause=cause)

    def _look(self, batch: BatchRecord) -> None:
        if not self._books.adopt(batch):
            return
        match batch.state:
            case BatchState.PACKING | BatchState.UPLOADING:
                # The file was on the disk of a process that has ended.
                self.give_up(batch, "its packer died before it was made")
            case BatchState.CREATING if batch.stop and not batch.asked:
                self.give_up(batch, "it was stopped before it was made")
            case BatchState.CREATING if batch.next_look <= self._now():
                self.create(batch)
            case BatchState.OUT if batch.stop or self._is_in_vain(batch):
                changes = {"state": BatchState.CANCELLING, "stop": 0, "next_look": 0.0}
                self._ask_after(self._books.step(batch, **changes))
            case BatchState.OUT | BatchState.CANCELLING if (
                batch.stop or batch.next_look <= self._now()
            ):
                self._ask_after(batch)
            case BatchState.COLLECTING:
                self._collect(batch)
            case BatchState.RETURNING:
                self._return_lines(batch)

    def _is_in_vain(self, batch: BatchRecord) -> bool:
        """Return, when a look is due, whether every job of the batch was cancelled."""
        return batch.next_look <= self._now() and not is_wanted(self._redis, batch.id)

    # Until the provider has it ------------------------------------------------------------------

    def send(self, batch: BatchRecord, path: Path) -> None:
        """Upload the file and have the batch made; write each step before it is taken."""
        filled = read_batch(self._redis, batch.id)
        if filled is None or filled.lines == 0:
            self._books.close(batch)
            return
        if filled.stop:
            self.give_up(filled, "it was stopped before it was made")
            return
        batch = self._books.step(filled, state=BatchState.UPLOADING)
        self._parts.leadership.extend(self._patience.transfer)
        try:
            file_id = self._upload(batch, path)
        except VisionqError as error:
            self._refused(batch, error)
            return
        self.create(self._books.step(batch, state=BatchState.CREATING, file_id=file_id))

    def _upload(self, batch: BatchRecord, path: Path) -> str:
        try:
            return self._parts.api.upload(path, batch.id)
        except BillingUnknown as error:
            log.warning("batch.upload_unclear", error=error.message)
        # A file alone costs nothing; what arrived of it twice is deleted with the batch.
        for file_id in self._parts.api.files(batch.id):
            self._parts.api.delete(file_id)
        return self._parts.api.upload(path, batch.id)

    def create(self, batch: BatchRecord) -> None:
        """Have the batch made, unless it was: it is searched before anything is sent again."""
        if batch.asked:
            found = self._parts.api.find(batch.id, since=batch.asked - 3600)
            if found is not None:
                self._note_made(batch, found)
                return
            if self._now() < batch.asked + self._patience.listing:
                self._put_off(batch, self._patience.listing / 10)
                return
            if batch.stop:
                self.give_up(batch, "it was stopped, and is in no list")
                return
        if self._books.lines_allowed() == 0:
            self._put_off(batch, self._patience.resting / 10)
            return
        asked_before = batch.asked
        batch = self._books.step(batch, asked=self._now())
        self._parts.leadership.extend(self._patience.transfer)
        try:
            made = self._parts.api.create(batch.file_id, batch.api, batch.id)
        except BillingUnknown as error:
            log.warning("batch.creation_unclear", error=error.message)
            self._put_off(batch, self._patience.listing / 10)
        except VisionqError as error:
            self._not_made(batch, error, asked_before)
        else:
            self._note_made(batch, made)
            self._books.note_taken()

    def _put_off(self, batch: BatchRecord, seconds: float) -> None:
        self._books.step(batch, next_look=self._now() + seconds)

    def _not_made(self, batch: BatchRecord, error: VisionqError, asked_before: float) -> None:
        """Have a batch made later where that may help; else give it up."""
        if self._books.note_refused(error) or isinstance(error, ProviderUnavailable):
            pause = self._patience.resting / 10
        elif isinstance(error, RateLimited):
            # Too much is enqueued: it is made when others have ended.
            self._books.rest(batch.model, batch.api)
            pause = self._patience.resting
        else:
            self._refused(batch, error)
            return
        log.info("batch.creation_put_off", reason=error.message)
        self._put_off(self._books.step(batch, asked=asked_before), pause)

    def _note_made(self, batch: BatchRecord, made: ProviderBatch) -> None:
        now = self._now()
        batch = self._books.step(
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
        self._books.note_refused(error)
        is_missing = isinstance(error, BatchApiMissing)
        goes_online = isinstance(error, (AccessDenied, RequestRejected))
        if goes_online:
            self._books.note_support(
                batch, works=False, reason=error.message, only_new=not is_missing
            )
        self._books.rest(batch.model, batch.api)
        self.give_up(batch, error.message, online=goes_online)

    # Until it has ended -------------------------------------------------------------------------

    def _ask_after(self, batch: BatchRecord) -> None:
        seen = self._parts.api.get(batch.batch_id)
        now = self._now()
        told: dict[str, Any] = {
            "status": seen.status,
            "completed": seen.completed,
            "failed": seen.failed,
        }
        if seen.status.is_final:
            # An order to stop it gives none of its answers up.
            self._collect(self._books.step(batch, state=BatchState.COLLECTING, stop=0, **told))
            return
        if batch.stop and self._is_overdue(batch):
            self._forget(batch.id, f"the provider does not end it ({seen.status})")
            return
        if batch.state is BatchState.CANCELLING and seen.status is not BatchStatus.CANCELLING:
            self._parts.api.cancel(batch.batch_id)
        # One that is stopped is back within minutes, and its jobs may be waiting for that.
        age = 0 if batch.state is BatchState.CANCELLING else now - batch.created
        pause = pause_before_look(age, self._patience.looks)
        if batch.stop:
            told["stop"] = 0
        self._books.step(batch, next_look=now + pause, looks=batch.looks + 1, **told)

    def _collect(self, batch: BatchRecord) -> None:
        """Settle every line by the files of the batch, then the rest."""
        self._parts.leadership.extend(self._patience.transfer)
        seen = self._parts.api.get(batch.batch_id) if batch.status else None
        if seen is not None and (reason := self._line_refused(batch, seen)):
            self._books.note_support(batch, works=False, reason=reason)
            self.give_up(batch, reason, online=True)
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
            self._books.note_support(batch, works=True, took=took)
        self._delete_files(batch, seen)
        self._books.close(batch)

    def _go_on(self) -> None:
        """Keep the lease until the next line is there, and the deadlines of other jobs."""
        self._parts.leadership.extend(self._patience.transfer)
        self._tend()

    def _line_refused(self, batch: BatchRecord, seen: ProviderBatch) -> str:
        """Return why the first line of an unproven lane was refused, or an empty text."""
        if batch.lines != 1 or self._books.support(batch.model, batch.api).works:
            return ""
        lines = (line for one in seen.result_file_ids for line in self._parts.api.lines(one))
        profile = self._parts.dependencies.profile
        return refusal_of_form(lines, batch.api, profile, self._now())

    def _note_invalid(self, batch: BatchRecord, seen: ProviderBatch) -> None:
        """Close a lane that never worked; else send the lines online. None was asked."""
        reason = "; ".join(problem.text for problem in seen.problems[:3]) or "it was not taken"
        self._books.rest(batch.model, batch.api)
        if seen.is_over_token_limit:
            # Unless the provider names its limit, half of what was too much is tried next.
            self._books.note_limit(batch, seen.token_limit or max(1, batch.tokens // 2))
            self.give_up(batch, reason)
            return
        self._books.note_support(batch, works=False, reason=reason, only_new=True)
        self.give_up(batch, reason, online=True)

    # To its end ---------------------------------------------------------------------------------

    def give_up(self, batch: BatchRecord, cause: str, *, online: bool = False) -> None:
        """Give the lines of a batch back, of which none was asked."""
        log.info("batch.given_up", cause=cause, lines=batch.lines)
        changes = {"state": BatchState.RETURNING, "cause": cause, "goes_online": int(online)}
        self._return_lines(self._books.step(batch, **changes))

    def _return_lines(self, batch: BatchRecord) -> None:
        self._settling.settle_rest(batch, _NOT_ASKED, online=bool(batch.goes_online))
        self._delete_files(batch, self._last_seen(batch))
        self._books.close(batch)

    def _last_seen(self, batch: BatchRecord) -> ProviderBatch | None:
        try:
            return self._parts.api.get(batch.batch_id) if batch.batch_id else None
        except RequestRejected:
            return None  # it is gone, and its files with it

    def _delete_files(self, batch: BatchRecord, seen: ProviderBatch | None) -> None:
        """Delete the files of the batch at the provider."""
        files = seen.result_file_ids if seen else ()
        uploaded = (batch.file_id,) if batch.file_id else self._parts.api.files(batch.id)
        self._files.delete((*uploaded, *files))

    def _now(self) -> float:
        return self._parts.clock()
