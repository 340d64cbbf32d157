"""Scripts for the bookkeeping of blobs: which are needed, when they expire, their bytes.

Submission takes blobs out of the garbage, and the end of the last job puts them back: those are
steps of the ledger's scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import QueueUnavailable, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Most blobs that one call of a script may touch: Redis serves nobody else meanwhile.
MOST_PER_SCRIPT: Final = 500
#: Shares of Redis's `maxmemory`: of blobs where no limit is set, and of all, as for submission.
SHARE_OF_BLOBS: Final = 0.7
REFUSE_AT: Final = 0.85


def portions(blobs: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Yield the blobs in portions for one script call each."""
    names = list(blobs)
    for start in range(0, len(names), MOST_PER_SCRIPT):
        yield {name: blobs[name] for name in names[start : start + MOST_PER_SCRIPT]}


@dataclass(frozen=True, slots=True)
class Room:
    """Seconds that blobs without a job stay in Redis, and the most bytes."""

    grace: int
    #: Of all together; unset: 70 % of Redis's `maxmemory`, or all there is if that is unset.
    limit: int | None = None
    #: Of those of a tenant; unset: three for each that stays free.
    tenant_limit: int | None = None


def reservation(blobs: Mapping[str, bytes], room: Room, tenant: str) -> list[str | int]:
    """Return the arguments of `reserve`; Redis supplies the time."""
    arguments: list[str | int] = [
        "",
        room.grace,
        "" if room.limit is None else room.limit,
        str(SHARE_OF_BLOBS),
        str(REFUSE_AT),
        tenant,
        "" if room.tenant_limit is None else room.tenant_limit,
    ]
    for name, content in blobs.items():
        arguments += (name, len(content))
    return arguments


def reserved(reply: Sequence[Any]) -> list[str]:
    """Return the blobs to upload.

    Raises:
        QueueUnavailable: there is no room for them.
        QuotaExceeded: there is none for so much of this tenant.
    """
    kind, *details = reply
    if kind == b"full":
        held, most = (int(amount) for amount in details)
        raise QueueUnavailable(
            f"the pictures of unfinished jobs fill Redis: they hold {held:,} of at most {most:,}"
            " bytes (70 % of maxmemory); wait until jobs end, cancel parked ones, raise maxmemory,"
            " or keep pictures elsewhere (VISIONQ_BLOB_URL)"
        )
    if kind == b"tenant_full":
        held, most = (max(int(float(amount)), 0) for amount in details)
        raise QuotaExceeded(
            f"the pictures of the tenant hold {held:,} bytes in Redis, of at most {most:,} now"
            "; wait until its jobs end, or cancel parked ones"
        )
    if kind == b"memory":
        raise QueueUnavailable(
            "Redis is close to its memory limit and takes no pictures; wait until jobs end, raise"
            " maxmemory, or keep pictures elsewhere (VISIONQ_BLOB_URL)"
        )
    return [name.decode() for name in details[0]]


def registered(reply: Sequence[Any]) -> set[str] | None:
    """Return the blobs new to the books; None while one is being deleted."""
    kind, *details = reply
    return None if kind == b"busy" else {name.decode() for name in details[0]}
