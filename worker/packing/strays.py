"""Stop batches that have our mark but no record, and delete files that were left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.errors import VisionqError
from visionq.ledger.provider_batches import BATCH_SUBJECT, BatchState, read_batch
from visionq.names import NOTICES, PROVIDER_FILES_LEFT
from worker.provider.batches import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis import Redis

    from worker.provider.batches import BatchApi, ProviderBatch

log = structlog.get_logger(__name__)

#: Files that are remembered as left there, the latest; the provider drops its own some day.
_MOST_FILES: Final = 10_000


@dataclass(frozen=True)
class EndedFiles:
    """Deletes files at the provider; what can't be deleted is noted, and tried again."""

    redis: Redis
    api: BatchApi
    clock: Callable[[], float]
    #: Id of the provider's key that the files belong to.
    key: str

    def delete(self, file_ids: Iterable[str]) -> None:
        """Delete files now, or later."""
        for file_id in file_ids:
            if not self._is_deleted(file_id):
                now = round(self.clock() * 1000)
                self.redis.zadd(PROVIDER_FILES_LEFT, {f"{self.key} {file_id}": now}, nx=True)
                self.redis.zremrangebyrank(PROVIDER_FILES_LEFT, 0, -1 - _MOST_FILES)

    def delete_left(self) -> None:
        """Try again with what was left there."""
        left: Any = self.redis.zrange(PROVIDER_FILES_LEFT, 0, -1)
        for entry in left:
            key, _, file_id = entry.decode().partition(" ")
            if key == self.key and self._is_deleted(file_id):
                self.redis.zrem(PROVIDER_FILES_LEFT, entry)

    def _is_deleted(self, file_id: str) -> bool:
        try:
            self.api.delete(file_id)
        except VisionqError as error:
            log.warning("batch.file_not_deleted", file=file_id, reason=error.message)
            return False
        return True


#: Seconds for which a batch may be out: the provider answers within a day.
_LOOKED_BACK: Final = 26 * 3600
_MOST_NOTICES: Final = 1000


@dataclass(frozen=True)
class Strays:
    """Looks for batches through the provider's list."""

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
