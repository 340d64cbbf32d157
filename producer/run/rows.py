"""The rows of OUT: the answer to a row of the source, or its error."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import ResultDocument
from visionq.contract.result import is_simulated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.run.plan import Question
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
    "cost_is_estimate", "request_id", "job_id", "finished_at",
)  # fmt: skip
#: Fields of every row, in this order; in tables `columns` and `data` become one column for each
#: column of the source and each field of the answer.
COLUMNS: Final = (
    "id", "file", "columns", "text", "data", "cost_rub", "cached", "error", "simulated", "warnings",
    *TECHNICAL,
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
    row |= {
        "text": result.text,
        "data": result.data,
        "cost_rub": _plain(Decimal(row["cost_rub"]) + result.cost_rub),
        "cached": result.cached,
        "pictures": pictures or row["pictures"],
        **{name: getattr(result.usage, name) for name in TOKENS},
        "service_tier": result.service_tier,
        "cost_is_estimate": result.cost_is_estimate,
        "simulated": result.simulated,
        "warnings": [*result.warnings, *warnings],
        "request_id": result.request_id,
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
