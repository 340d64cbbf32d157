"""Select rows of a source: those that OUT lacks, and those to ask about again."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from producer.quote.probe import sha256_of_file
from producer.sources import ROW_FAULTS, BadRow, Row
from visionq.errors import ImageError, InvalidJob
from visionq.sdk.images import is_url
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from producer.prompts import Prompt
    from producer.run.record_index import Index, IndexEntry

_MARK_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Again:
    """The rows of OUT to ask about again."""

    failed: bool = False
    changed: bool = False
    #: Ask again about rows that another model than this has answered; None: about none.
    unless_by: str | None = None


@dataclass
class Selection:
    """Decides about each row as it is read, and counts the decisions."""

    index: Index
    prompt: Prompt | None
    #: Returns a row of OUT.
    stored: Callable[[IndexEntry], dict[str, Any]]
    again: Again = Again()
    #: Ids of the rows to look at; None: all.
    only: frozenset[str] | None = None

    def __post_init__(self) -> None:
        #: Rows looked at, rows to ask about, and rows of OUT that are kept.
        self.seen = self.asked = self.kept = 0
        #: Ids of `only` that exist.
        self.found: set[str] = set()
        #: Error code → kept rows.
        self.kept_failed: Counter[str] = Counter()
        #: `prompt` or `pictures` → rows in which it has changed.
        self.changed: Counter[str] = Counter()

    def take(self, row: Row | BadRow) -> tuple[bool, IndexEntry | None]:
        """Return whether to ask about a row, and its entry in OUT."""
        if self.only is not None:
            if row.id not in self.only:
                return False, None
            self.found.add(row.id)
        self.seen += 1
        entry = self.index.find(row.id, row.number)
        if self._is_asked(row, entry):
            self.asked += 1
            return True, entry
        self.kept += 1
        if entry is not None and entry.failed:
            self.kept_failed[entry.code] += 1
        return False, entry

    def _is_asked(self, row: Row | BadRow, entry: IndexEntry | None) -> bool:
        if entry is None or (entry.failed and self.again.failed):
            return True
        if self.again.unless_by and not entry.failed:
            return bool(self.stored(entry)["model"] != self.again.unless_by)
        what = self._change(row, entry)
        if what is None:
            return False
        self.changed[what] += 1
        return self.again.changed

    def _change(self, row: Row | BadRow, entry: IndexEntry) -> str | None:
        """Return the change since the row was answered: `prompt` or `pictures`."""
        if entry.mark is None or (now := inputs_of(row, self.prompt)) is None:
            return None
        if mark_of(now) == entry.mark:
            return None
        before = self.stored(entry)
        if before["inputs"]["asked"] != now["asked"]:
            return "prompt"
        return "pictures" if _are_others(row, before, now["pictures"]) else None


def inputs_of(row: Row | BadRow, prompt: Prompt | None) -> dict[str, Any] | None:
    """Return the identity of a row's prompt and pictures, or None for a bad row.

    Local pictures count by size and time of change, others by address.
    """
    if isinstance(row, BadRow):
        return None
    try:
        filled = prompt.fill(row.variables) if prompt and "prompt" not in row.overrides else ""
        asked = _digest([filled, row.overrides])
        return {"asked": asked, "pictures": [_stamp(image) for image in row.images]}
    except (InvalidJob, *ROW_FAULTS):
        return None


def mark_of(inputs: dict[str, Any]) -> int:
    """Return 64 bits of a hash of a row's inputs."""
    return int.from_bytes(bytes.fromhex(_digest(inputs)), "big", signed=True)


class Sample:
    """A random sample of rows, the same for the same seed.

    A hash of its id decides about each row, so that one more row in the source changes at most
    one row of the sample.
    """

    def __init__(self, size: int, seed: str) -> None:
        self._size = size
        self._seed = seed
        self._lots: list[tuple[int, str]] = []

    def note(self, row_id: str) -> None:
        """Consider a row."""
        lot = (-int(_digest([self._seed, row_id]), 16), row_id)
        if len(self._lots) < self._size:
            heapq.heappush(self._lots, lot)
        else:
            heapq.heappushpop(self._lots, lot)

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the sample of all rows so far."""
        return frozenset(row_id for _, row_id in self._lots)


def _stamp(image: str) -> str:
    if is_data_url(image):
        return _digest(image)
    if is_url(image) or "://" in image:
        return image
    try:
        found = Path(image).stat()
    except OSError:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}"


def _are_others(row: Row | BadRow, before: dict[str, Any], stamps: Sequence[str]) -> bool:
    """Return whether the pictures of a row have changed; read files with a new time."""
    if isinstance(row, BadRow) or len(stamps) != len(before["inputs"]["pictures"]):
        return True
    known = before["pictures"] if len(before["pictures"]) == len(stamps) else [None] * len(stamps)
    return any(
        earlier != stamp and _sha256(image) != sha256
        for image, earlier, stamp, sha256 in zip(
            row.images, before["inputs"]["pictures"], stamps, known, strict=True
        )
    )


def _sha256(image: str) -> str:
    """Return the hash of a local picture, and an empty text for others."""
    try:
        return sha256_of_file(image)
    except (ImageError, InvalidJob, *ROW_FAULTS):
        return ""


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    raw = text.encode("utf-8", "backslashreplace")
    return hashlib.blake2b(raw, digest_size=_MARK_BYTES).hexdigest()
