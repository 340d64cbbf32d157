"""The scripts that keep the books of blobs: which are needed, which go when, and their bytes.

Submission takes blobs out of the garbage, and the end of the last job puts them back: those are
steps of the ledger's scripts.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import QueueUnavailable
from visionq.names import keys_as_lua

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Most blobs that one call of a script may touch: Redis serves nobody else meanwhile.
MOST_PER_SCRIPT: Final = 500
#: Shares of Redis's `maxmemory`: of blobs where no limit is set, and of all, as for submission.
SHARE_OF_BLOBS: Final = 0.7
REFUSE_AT: Final = 0.85


@cache
def script_text(name: str) -> str:
    """Return the script behind the names of all keys and what the scripts share."""
    lua = files("visionq.blobs") / "lua"
    parts = (keys_as_lua(), (lua / "common.lua").read_text(), (lua / f"{name}.lua").read_text())
    return "\n".join(parts)


def portions(blobs: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Yield the blobs, at most so many at a time as one call of a script may touch."""
    names = list(blobs)
    for start in range(0, len(names), MOST_PER_SCRIPT):
        yield {name: blobs[name] for name in names[start : start + MOST_PER_SCRIPT]}


def reservation(blobs: Mapping[str, bytes], grace: int, limit: int | None) -> list[str | int]:
    """Return the arguments of `reserve`."""
    arguments: list[str | int] = [
        grace,
        "" if limit is None else limit,
        str(SHARE_OF_BLOBS),
        str(REFUSE_AT),
    ]
    for name, content in blobs.items():
        arguments += (name, len(content))
    return arguments


def reserved(reply: Sequence[Any]) -> list[str]:
    """Return the blobs to upload; raises `QueueUnavailable` if there is no room for them."""
    kind, *details = reply
    if kind == b"full":
        held, most = (int(amount) for amount in details)
        raise QueueUnavailable(
            f"the pictures of unfinished jobs fill Redis: they hold {held:,} of at most {most:,}"
            " bytes (VISIONQ_BLOB_LIMIT); wait until jobs end, cancel parked ones, raise the limit,"
            " or keep pictures elsewhere (VISIONQ_BLOB_URL)"
        )
    if kind == b"memory":
        raise QueueUnavailable(
            "Redis is close to its memory limit and takes no pictures; wait until jobs end, raise"
            " maxmemory, or keep pictures elsewhere (VISIONQ_BLOB_URL)"
        )
    return [name.decode() for name in details[0]]


def registered(reply: Sequence[Any]) -> set[str] | None:
    """Return the blobs that were not known before; None while one is being deleted."""
    kind, *details = reply
    return None if kind == b"busy" else {name.decode() for name in details[0]}
