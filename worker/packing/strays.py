"""Stop batches at the provider that have our mark but no record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from visionq.ledger.provider_batches import BATCH_SUBJECT, BatchState, read_batch
from visionq.names import NOTICES
from worker.provider.batches import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from worker.provider.batches import BatchApi, ProviderBatch

log = structlog.get_logger(__name__)

#: Seconds for which a batch may be out: the provider answers within a day.
_LOOKED_BACK: Final = 26 * 3600
_MOST_NOTICES: Final = 1000


@dataclass(frozen=True)
class Strays:
    """Looks through the provider's list."""

    redis: Redis
    api: BatchApi
    clock: Callable[[], float]

    def stop(self, ours: str) -> int:
        """Stop unknown batches whose marks begin with `ours`; return how many.

        Its lines were asked a second time, or their jobs are gone: what it has answered is paid.
        """
        stopped = 0
        for batch in self.api.recent(since=self.clock() - _LOOKED_BACK):
            is_ours = (batch.mark or "").startswith(ours)
            goes_on = not batch.status.is_final and batch.status is not BatchStatus.CANCELLING
            if is_ours and goes_on and self._is_stray(batch):
                self._tell(self.api.cancel(batch.id))
                stopped += 1
        return stopped

    def _is_stray(self, batch: ProviderBatch) -> bool:
        record = read_batch(self.redis, batch.mark or "")
        if record is None or record.state in {BatchState.RETURNING, BatchState.DONE}:
            return True
        return bool(record.batch_id) and record.batch_id != batch.id

    def _tell(self, batch: ProviderBatch) -> None:
        log.warning("batch.stray", provider_id=batch.id, mark=batch.mark, answered=batch.completed)
        notice = {
            "subject": f"{BATCH_SUBJECT}{batch.id}",
            "state": "stray",
            "reason": str(batch.completed),
        }
        self.redis.xadd(NOTICES, notice, maxlen=_MOST_NOTICES)  # type: ignore[arg-type]  # dict is invariant
