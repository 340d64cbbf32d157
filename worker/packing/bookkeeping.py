"""Write the records of batches, and what batches have shown of the provider."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.contract import Api
from visionq.errors import InsufficientBalance, KeyRejected
from visionq.ledger import GateOrder
from visionq.ledger.provider_batches import adopt, close, read_support, step, write_support
from visionq.names import GATE, LEDGER_ID
from worker.decision import reason_of
from worker.packing.leadership import LeadershipLostError

if TYPE_CHECKING:
    from visionq.errors import VisionqError
    from visionq.ledger.provider_batches import BatchRecord, BatchSupport
    from worker.packing.packer_parts import PackerParts

log = structlog.get_logger(__name__)

#: Batches that are remembered once they are done.
_KEPT: Final = 1000


class Bookkeeping:
    """All that one packer writes of batches."""

    def __init__(self, parts: PackerParts) -> None:
        #: Fences other packers: a record has one holder.
        self.holder = secrets.token_hex(8)
        self.key = parts.registration.key
        self._ledger = parts.ledger
        self._redis = parts.ledger.redis
        self._clock = parts.clock
        self._resting = parts.patience.resting
        self._rests_until: dict[tuple[str, Api], float] = {}

    # Records ------------------------------------------------------------------------------------

    def adopt(self, batch: BatchRecord) -> bool:
        """Take a record over; false: it is gone."""
        return self._ledger.make(adopt(batch.id, self.holder))

    def step(self, batch: BatchRecord, **changes: Any) -> BatchRecord:  # noqa: ANN401  # fields of a record
        """Write changes of a record, or stop: it may be another packer's."""
        if not self._ledger.make(step(batch, self.holder, **changes)):
            raise LeadershipLostError
        return replace(batch, **changes)

    def close(self, batch: BatchRecord) -> None:
        """End a record whose lines are all done with."""
        ttl = self._ledger.options.result_ttl
        self._ledger.make(close(batch.id, self.holder, ttl, _KEPT))
        log.info("batch.done", lines=batch.lines, status=batch.status, cause=batch.cause)

    def ledger_id(self) -> str:
        """Return the mark of our batches among others of the same key."""
        self._redis.set(LEDGER_ID, secrets.token_hex(4), nx=True)
        stored: Any = self._redis.get(LEDGER_ID)
        return str(stored.decode())

    # The provider -------------------------------------------------------------------------------

    def rest(self, model: str, api: Api) -> None:
        """Make no more batches of this kind for a while."""
        self._rests_until[model, api] = self._clock() + self._resting

    def is_resting(self, model: str, api: Api) -> bool:
        """Return whether no batch of this kind is made now."""
        return self._clock() < self._rests_until.get((model, api), 0)

    def support(self, model: str, api: Api) -> BatchSupport:
        """Return what is known of batches of a model and API."""
        return read_support(self._redis, self.key, model, api)

    def note_support(
        self,
        batch: BatchRecord,
        *,
        works: bool,
        reason: str = "",
        took: float | None = None,
        only_new: bool = False,
    ) -> None:
        """Record whether the provider takes such batches; with `only_new` if none has worked."""
        known = self.support(batch.model, batch.api)
        if only_new and known.works:
            return
        times = known.took if took is None else (*known.took, round(took, 1))
        news = replace(known, works=works, reason=reason, took=times, since=self._clock())
        write_support(self._redis, self.key, batch.model, batch.api, news)

    def note_limit(self, batch: BatchRecord, tokens: int) -> None:
        """Record the provider's limit of enqueued tokens for a model."""
        known = self.support(batch.model, batch.api)
        news = replace(known, enqueued_tokens=tokens)
        write_support(self._redis, self.key, batch.model, batch.api, news)
        log.info("batch.token_limit", model=batch.model, tokens=tokens)

    def took(self, model: str) -> tuple[float, ...]:
        """Return how long batches of a model took, in seconds."""
        return tuple(seconds for api in Api for seconds in self.support(model, api).took)

    # The gate -----------------------------------------------------------------------------------

    def lines_allowed(self) -> int | None:
        """Return the lines that a batch may have by the key's gate; None: any number.

        A gate that reopens takes a step's worth: a batch is the trial where nothing goes online.
        """
        stored: Any = self._redis.hmget(GATE + self.key, "state", "step")
        state, allowed = stored
        if state in {None, b"open"}:
            return None
        return 0 if state == b"closed" else int(allowed or 0)

    def note_taken(self) -> None:
        """Let the gate open further: the provider took a batch, so the key works."""
        self._ledger.steer_gate(self.key, GateOrder.ADVANCE)

    def note_refused(self, error: VisionqError) -> bool:
        """Close the gate if the key was refused; return whether it was.

        A 403 may be about batches alone.
        """
        is_of_key = isinstance(error, (InsufficientBalance, KeyRejected))
        if is_of_key:
            self._ledger.steer_gate(self.key, GateOrder.REFUSE, reason_of(error))
        return is_of_key
