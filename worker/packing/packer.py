"""Make batches of jobs that can wait, and follow them to their end."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from visionq.errors import QueueUnavailable, VisionqError
from visionq.ledger.provider_batches import (
    Backlog,
    BatchRecord,
    BatchState,
    backlogs,
    batch_lanes,
    begin,
    open_batches,
    pack,
    reroute,
    reroute_queued,
)
from visionq.ledger.scripts import MOST_PER_SCRIPT
from visionq.names import LEDGER_ID
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.packing.bookkeeping import Bookkeeping
from worker.packing.deadlines import Deadlines
from worker.packing.filling import BatchFilling
from worker.packing.flex_calls import FlexCalls
from worker.packing.leadership import LeadershipLostError
from worker.packing.strays import EndedFiles, Strays
from worker.packing.under_way import UnderWay
from worker.provider.batch_files import BatchFile
from worker.work import work

if TYPE_CHECKING:
    from visionq.contract import Api
    from visionq.ledger.provider_batches import BatchSupport
    from worker.packing.packer_parts import PackerParts

log = structlog.get_logger(__name__)

#: Of this many jobs that are taken, one is of bulk though interactive ones wait.
_TURNS: Final = 10


class Packer:
    """One process of the fleet does it for each key of the provider. Used by one thread."""

    def __init__(self, parts: PackerParts) -> None:
        self._parts = parts
        self._redis = parts.ledger.redis
        self._ledger = parts.ledger
        self._key = parts.registration.key
        self._patience = parts.patience
        self._growing: dict[tuple[str, Api], tuple[int, float]] = {}
        self._taken = 0
        self._strays_at = self._tended_at = 0.0
        self._strays = Strays(self._redis, parts.api, parts.clock)
        self._files = EndedFiles(self._redis, parts.api, parts.clock, self._key)
        dependencies = parts.dependencies
        self._flex = FlexCalls(
            parts.ledger, dependencies.prices, dependencies.profile, self._key, parts.clock
        )
        self._deadlines = Deadlines(
            self._ledger, parts.clock, parts.patience.stopping, parts.patience.batch, self._flex
        )
        self._books = Bookkeeping(parts)
        self._under_way = UnderWay(parts, self._books, self._files, self._keep_deadlines)

    def run(self) -> None:
        """Look at every batch that is not done, then make new ones."""
        if not self._parts.leadership.take():
            return
        try:
            self._under_way.look_at_all()
            self._stop_strays()
            self._deadlines.keep(self._books.took)
            self._pack_all()
        except LeadershipLostError:
            log.warning("packer.deposed")

    def _keep_deadlines(self) -> None:
        """Keep the deadlines of other jobs, while one step takes long."""
        if self._is_time_to_tend():
            self._deadlines.keep(self._books.took)

    def _is_time_to_tend(self) -> bool:
        now = self._now()
        is_time = now >= self._tended_at + self._patience.tending
        if is_time:
            self._tended_at = now
        return is_time

    def _stop_strays(self) -> None:
        if self._now() < self._strays_at or not self._redis.exists(LEDGER_ID):
            return
        self._strays_at = self._now() + self._patience.strays
        self._files.delete_left()
        try:
            self._strays.stop(f"visionq-{self._books.ledger_id()}-")
        except VisionqError as error:
            log.info("batch.list_unknown", reason=error.message)

    # What is next -------------------------------------------------------------------------------

    def _pack_all(self) -> None:
        waiting = {(one.model, one.api): one for one in backlogs(self._redis)}
        self._growing = {of: seen for of, seen in self._growing.items() if of in waiting}
        for of, backlog in waiting.items():
            self._parts.leadership.extend()
            support = self._books.support(*of)
            is_refused = support.refuses(self._now(), self._patience.verdict)
            if support.works is False and not is_refused:
                support = replace(support, works=None)  # one line may show that things changed
            if is_refused or not self._parts.dependencies.profile.has_batches(*of):
                self._ask_online(backlog, support.reason or "the seller has no batches of it")
            elif self._is_time(backlog, support):
                self._pack_safely(backlog, support)

    def _ask_online(self, backlog: Backlog, reason: str) -> None:
        """Send jobs that can have no batch online, at flex if possible."""
        lanes, went = batch_lanes(self._redis, backlog.model, backlog.api), 0
        if self._flex.seconds(backlog.model) is not None:
            went = self._flex.send_next(lanes)
        else:
            while (some := self._ledger.make(reroute_queued(lanes, MOST_PER_SCRIPT))) is not None:
                went += len(some)
                self._parts.leadership.extend()
        if went:
            log.info("packer.asked_online", model=backlog.model, jobs=went, reason=reason)

    def _pack_safely(self, backlog: Backlog, support: BatchSupport) -> None:
        """Pack a batch; where that fails, other models are packed all the same."""
        try:
            self._pack(backlog, support)
        except (LeadershipLostError, QueueUnavailable, *TRANSIENT_ERRORS):
            raise
        except Exception:
            log.exception("packer.failed", model=backlog.model)
            self._books.rest(backlog.model, backlog.api)

    def _is_time(self, backlog: Backlog, support: BatchSupport) -> bool:
        of, now = (backlog.model, backlog.api), self._now()
        if self._books.is_resting(*of):
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
        room, allowed = most - enqueued, self._books.lines_allowed()
        lines = 1 if support.works is None else min(limits.lines, allowed or limits.lines)
        if room <= 0 or not (first := self._take(backlog.api, backlog.model)):
            return
        batch = BatchRecord(
            id=f"visionq-{self._books.ledger_id()}-{secrets.token_hex(6)}",
            state=BatchState.PACKING,
            model=backlog.model,
            api=backlog.api,
            key=self._key,
            begun=self._now(),
        )
        self._ledger.make(begin(batch, self._books.holder))
        with (
            structlog.contextvars.bound_contextvars(batch=batch.id),
            tempfile.TemporaryDirectory(dir=self._parts.folder, prefix="visionq-") as folder,
        ):
            path = Path(folder, "lines.jsonl")
            changes = {"enqueued_tokens": room, "lines": lines}
            with BatchFile(path, limits.model_copy(update=changes)) as file:
                self._fill(batch, file, first, lines)
            self._growing.pop((backlog.model, backlog.api), None)
            self._under_way.send(batch, path)

    def _take(self, api: Api, model: str) -> str | None:
        """Take the next job of the batch lane, if the gate is open."""
        self._taken += 1
        bulk_first = self._taken % _TURNS == 0
        registration = self._parts.registration
        return self._ledger.make(pack(registration, api, model, bulk_first=bulk_first))

    def _fill(self, batch: BatchRecord, file: BatchFile, first: str, most: int) -> None:
        parts, filling = self._parts, BatchFilling(batch.id, self._books.holder, file)
        job_id: str | None = first
        while job_id is not None:
            parts.leadership.extend(600)
            parts.run(work(job_id, parts.dependencies, parts.leases, parts.registration, filling))
            if filling.is_full or file.lines >= most:
                break
            if self._is_time_to_tend():
                self._under_way.look_at_all(but=batch.id)
                self._deadlines.keep(self._books.took)
            job_id = self._take(batch.api, batch.model)
        if filling.is_full and file.lines == 0:
            self._too_long(batch, job_id)

    def _too_long(self, batch: BatchRecord, job_id: str | None) -> None:
        """Have a line that fits into no batch now wait, or go online."""
        self._books.rest(batch.model, batch.api)
        if job_id is not None and not [one for one in self._out_of(batch.model) if one.lines]:
            self._ledger.make(reroute([job_id]))

    def _now(self) -> float:
        return self._parts.clock()
