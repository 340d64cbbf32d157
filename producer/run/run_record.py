"""OUT.jsonl, the record of a run: append rows durably, repair and sort it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from producer.run.record_index import Index, Rows, check_begins_as_record, entry_of, read_into
from visionq.contract import ResultDocument
from visionq.contract.result import is_simulated
from visionq.errors import RecordFailed, RecordRefused
from visionq.user_files import free_name, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from producer.run.plan import Question
    from producer.run.record_index import IndexEntry
    from producer.sources import BadRow
    from visionq.errors import VisionqError
    from visionq.ledger import NewJob
    from visionq.sdk.typed import End

#: Tokens as the provider counted them.
TOKENS: Final = (
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip


#: Columns for programs; `--no-technical` leaves them out of tables.
TECHNICAL: Final = (
    "row", "pictures", "model", "detail", "api", "question", "attempt", *TOKENS, "service_tier",
    "latency_s", "cost_is_estimate", "request_id", "job_id", "finished_at",
)  # fmt: skip


#: Fields of every row, in this order; in tables `columns` and `data` become one column for each
#: column of the source and each field of the answer.
COLUMNS: Final = (
    "id", "file", "columns", "text", "data", "cost_rub", "cached", "near", "error", "simulated",
    "warnings", *TECHNICAL,
)  # fmt: skip


#: `inputs` is in no table.
_FIELDS: Final = (*COLUMNS, "inputs")


@dataclass(frozen=True, slots=True)
class RowAttempt:
    """A row of the source: its number and id, and its earlier attempts."""

    number: int
    id: str
    attempt: int = 1
    #: Rubles paid for earlier attempts; the row of OUT reports the sum.
    paid: Decimal = Decimal(0)
    #: Names of its pictures.
    file: str = ""
    #: Columns of the source that OUT repeats.
    columns: Mapping[str, str] = field(default_factory=dict)
    #: Identity of its question and pictures, by which a change is detected.
    inputs: Mapping[str, Any] | None = None


def answered(place: RowAttempt, question: Question, job: NewJob, end: End) -> dict[str, Any]:
    """Return the row of a job that has ended."""
    document = job.document
    row = _row(place, question) | {
        "model": document.model,
        "detail": document.detail.value,
        "api": document.api.value,
        "pictures": list(document.blobs),
        "job_id": job.id,
    }
    if isinstance(end, ResultDocument):
        _take_result(row, end)
    else:
        _take_error(row, end)
    return row


def unanswered(place: RowAttempt, question: Question, error: VisionqError) -> dict[str, Any]:
    """Return the row of a question that never became a job; it costs nothing."""
    row = _row(place, question)
    _take_error(row, error)
    return row


def refused(bad: BadRow, place: RowAttempt, question: Question) -> dict[str, Any]:
    """Return the row of a `BadRow`."""
    return _row(place, question) | {"error": {"code": bad.code, "message": bad.message}}


def _row(place: RowAttempt, question: Question) -> dict[str, Any]:
    return dict.fromkeys(_FIELDS) | {
        "id": place.id,
        "file": place.file,
        "columns": dict(place.columns),
        "inputs": place.inputs,
        "row": place.number,
        "attempt": place.attempt,
        "question": question.fingerprint,
        "model": question.options.get("model"),
        "detail": question.options.get("detail", "auto"),
        "text": "",
        "cost_rub": _plain(place.paid),
        "cost_is_estimate": False,
        "simulated": False,
        "cached": False,
        "pictures": [],
        "warnings": [],
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _take_result(row: dict[str, Any], result: ResultDocument) -> None:
    pictures = [image.sha256 for image in result.images if image.sha256]
    warnings = [f"{image.name}: {said}" for image in result.images for said in image.warnings]
    asked = None if result.cached else result.timings_ms.get("ask")
    row |= {
        "text": result.text,
        "data": result.data,
        "cost_rub": _plain(Decimal(row["cost_rub"]) + result.cost_rub),
        "cached": result.cached,
        "near": result.near and result.near.to_public(),
        "pictures": pictures or row["pictures"],
        **{name: getattr(result.usage, name) for name in TOKENS},
        "service_tier": result.service_tier,
        "latency_s": None if asked is None else round(asked / 1000, 3),
        "cost_is_estimate": result.cost_is_estimate,
        "simulated": result.simulated,
        "warnings": [*result.warnings, *warnings],
        "request_id": result.request_id,
    }
    if result.steps:
        row |= {
            "model": result.model,
            "steps": [step.model_dump(mode="json") for step in result.steps],
        }
    if result.finished_at is not None:
        row["finished_at"] = result.finished_at.isoformat(timespec="milliseconds")


def _take_error(row: dict[str, Any], error: VisionqError) -> None:
    where = f"{error.image}: " if error.image else ""
    row |= {
        # Text of the model in spite of the error was paid for.
        "text": error.text or getattr(error, "details", {}).get("text") or "",
        "cost_rub": _plain(Decimal(row["cost_rub"]) + error.cost_rub),
        "error": {"code": error.code, "message": f"{where}{error.message}"},
        "simulated": is_simulated(error.request_id),
        "request_id": error.request_id,
    }


def to_line(row: dict[str, Any]) -> bytes:
    """Return a row as a line of JSON, with invalid text escaped."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


#: Bytes of a row with a short answer.
_ROW_BYTES: Final = 900


_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Record:
    """The open file, locked for this run, and its index.

    A row counts once its line is complete and durable; a partial line after the last complete one,
    left by a crash or a full disk, is cut off.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open, lock and read the file; with `fresh`, ignore its content.

        Raises:
            RecordRefused: it can't be written, another run uses it, or a line is not a row.
        """
        self.path = path
        self.index = Index()
        self.question: str | None = None
        self._size = 0
        self._descriptor = _opened(path)
        try:
            if fresh:
                check_begins_as_record(path)
            else:
                self._size, self.question = read_into(self.index, path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlock the file, and remove it if it is empty."""
        if os.fstat(self._descriptor).st_size == 0:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self.index.close()

    def begin(self) -> None:
        """Cut off a partial line; with `fresh`, move the content to `….bak`.

        Raises:
            RecordFailed: it can't be written.
        """
        if os.fstat(self._descriptor).st_size == self._size:
            if shutil.disk_usage(self.path.parent).free == 0:  # before anything is paid
                raise RecordFailed(f"{self.path}: {_reason(OSError(errno.ENOSPC, ''))}")
            return
        try:
            if not self._size:
                shutil.copyfile(self.path, free_name(self.path))
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            raise RecordFailed(f"{self.path}: {_reason(error)}") from None

    def room_is_short(self, rows: int) -> str | None:
        """Return a warning if the disk has hardly room for more `rows`, else None."""
        free = shutil.disk_usage(self.path.parent).free
        if (needed := rows * _ROW_BYTES) < free:
            return None
        return (
            f"OUT will grow by about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in"
            f" {self.path.parent}: when the disk is full the run stops, and nothing is lost"
        )

    def check(self, fingerprint: str) -> None:
        """Check that the rows answer the question with this fingerprint.

        Raises:
            RecordRefused: they answer another one.
        """
        if self.question not in (None, fingerprint):
            raise RecordRefused(
                f"{self.path}: contains answers to another prompt, model, detail or schema:"
                " choose another OUT, or start again with --fresh, which moves them to OUT.bak"
            )

    def check_origin(self, *, simulates: bool | None) -> None:
        """Check that answers of the simulator and of a model are not mixed.

        `simulates`: whether the simulator will answer; None if that is not known here.

        Raises:
            RecordRefused: they would be mixed.
        """
        simulated, real = self.index.origins()
        if simulates is False and simulated:
            held, coming = f"{simulated:,} rows of the simulator", "a model"
        elif simulates and real:
            held, coming = f"{real:,} answers of a model", "the simulator"
        else:
            return
        raise RecordRefused(
            f"{self.path}: contains {held}, and now {coming} would answer:"
            " choose another OUT, or start again with --fresh, which moves them to OUT.bak"
        )

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows durably.

        Raises:
            RecordFailed: the disk is full or the file can't be written; no partial row remains.
        """
        lines = [to_line(row) for row in rows]
        try:
            _write(self._descriptor, b"".join(lines), self._size)
        except OSError as error:
            with suppress(OSError):  # the next start cuts it off
                os.ftruncate(self._descriptor, self._size)
            raise RecordFailed(f"{self.path}: {_reason(error)}") from None
        self.index.add(self._entries(rows, lines))

    def _entries(
        self, rows: Sequence[dict[str, Any]], lines: Sequence[bytes]
    ) -> Iterator[IndexEntry]:
        for row, line in zip(rows, lines, strict=True):
            yield entry_of(row, self._size, len(line))
            self._size += len(line)

    def row(self, entry: IndexEntry) -> dict[str, Any]:
        """Return the row of an index entry."""
        found: dict[str, Any] = json.loads(os.pread(self._descriptor, entry.length, entry.start))
        return found

    def rows(self, *, ordered: bool) -> Rows:
        """Return each row once; `ordered`: in the order of the source."""
        # The file that was opened: `settle` may have replaced it.
        return Rows(self._descriptor, self.index, ordered=ordered)

    def settle(self, *, ordered: bool) -> None:
        """Keep only the last line of each row; `ordered`: sorted as the source.

        The file is replaced atomically.

        Raises:
            RecordFailed: there is no room for a second copy; the record is unchanged.
        """
        rows, _ = self.index.count()
        if not ordered and self.index.lines == rows:
            return
        try:
            with replacing(self.path) as draft, draft.open("xb") as file:
                for start, length in self.index.in_order(of_source=ordered):
                    file.write(os.pread(self._descriptor, length, start))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RecordFailed(
                f"{self.path}: can't be sorted: {_reason(error)}; no row is lost"
            ) from None


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordRefused(f"{path}: {_unwritable(path, error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A run that has just ended may have removed or replaced it.
        replaced = not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino
    except OSError as error:
        os.close(descriptor)
        busy = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        reason = "another run is writing it" if busy else f"can't be locked: {error.strerror}"
        raise RecordRefused(f"{path}: {reason}") from None
    if replaced:
        os.close(descriptor)
        return _opened(path)
    return descriptor


def _write(descriptor: int, content: bytes, start: int) -> None:
    """Write all of it durably; a nearly full disk may take it in parts."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written
    os.fsync(descriptor)


def _unwritable(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        return f"there is no folder {path.parent}: create it, or choose another OUT"
    if error.errno in _FULL:
        return _reason(error)
    return f"{_reason(error)}: choose another OUT"


def _reason(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk is full; make room and run the same command again"
    return f"can't be written: {error.strerror}"
