"""Options of a ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from visionq.settings import Settings


#: Dispatchers look once a second; a gap not longer than that would renew dead leases for ever.
_SHORTEST_GAP: Final = 2.0


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """Times are seconds."""

    #: A claim holds this long without renewal.
    lease: float = 10
    #: After a longer silence of all dispatchers every running lease is extended first.
    gap: float = 4
    #: A hint that nobody claimed is sent again after this, then after twice as long, …
    first_wait_for_claim: float = 5
    longest_wait_for_claim: float = 60
    #: Send one hint beyond the free slots for each of this many slots, so that none idles.
    slots_per_hint_ahead: int = 8
    #: Submission is refused at this share of Redis's `maxmemory`.
    refuse_at: float = 0.85
    #: Most parked jobs, and most models with queued jobs, of a tenant that may submit more.
    tenant_parked_limit: int = 100_000
    tenant_models_limit: int = 64
    #: An answer that is needed sooner is asked for online.
    batch_least_wait: float = 3600
    #: The broker's queues are in the ledger's Redis.
    broker_is_here: bool = True
    #: The blobs are in the ledger's Redis.
    blobs_are_here: bool = True
    #: Where a day of spending begins and ends.
    time_zone: str = "Europe/Moscow"
    result_ttl: int = 7 * 24 * 3600
    failed_ttl: int = 14 * 24 * 3600
    answer_ttl: int = 7 * 24 * 3600
    blob_grace: int = 3600
    #: Finished jobs, and about how many events, that stay listed.
    finished_kept: int = 100_000
    events_kept: int = 10_000


def ledger_options(settings: Settings) -> LedgerOptions:
    """Return the options in the settings."""
    return LedgerOptions(
        lease=settings.lease,
        gap=max(settings.lease * 0.4, _SHORTEST_GAP),
        tenant_parked_limit=settings.tenant_parked_limit,
        tenant_models_limit=settings.tenant_models_limit,
        broker_is_here=settings.broker_url is None or settings.broker_url == settings.redis_url,
        time_zone=settings.time_zone,
        result_ttl=settings.result_ttl,
        failed_ttl=settings.failed_ttl,
        answer_ttl=settings.answer_ttl,
        blobs_are_here=settings.blob_url is None,
        blob_grace=settings.blob_grace,
        finished_kept=settings.finished_kept,
        events_kept=settings.events_kept,
    )
