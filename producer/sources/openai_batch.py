"""Input files of the OpenAI Batch API, unchanged."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from producer.openai_requests.reading import read_request
from producer.sources.manifest import broken_line, parse_object
from producer.sources.row import BadRow, Row, make_row
from producer.sources.source import Reading
from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.sources.text import TextFile


class OpenAIBatch(Reading):
    """Lines `{"custom_id", "method", "url", "body"}`; a row brings its own prompt and options."""

    asks_itself = True

    def __init__(self, file: TextFile, name: str) -> None:
        self.description = f"{name} (OpenAI Batch input)"
        self._file = file

    def fingerprint(self) -> str:
        """Return the hash of its content."""
        return f"openai-batch:{self._file.sha256}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        for number, (line, text) in enumerate(self._file.lines(), 1):
            record = parse_object(text)
            if isinstance(record, str):
                yield line, broken_line(number, line, record)
            else:
                yield line, make_row(number, line, partial(_row, number, line, record))


def _row(number: int, line: int, record: dict[str, Any]) -> Row | BadRow:
    identity = record.get("custom_id")
    if not isinstance(identity, str) or not identity:
        return broken_line(number, line, "custom_id is missing")
    if (method := record.get("method", "POST")) != "POST":
        message = f"line {line}: method: {method!r} is not POST"
        return BadRow(number, identity, InvalidJob.code, message)
    try:
        fields = read_request(str(record.get("url", "")), record.get("body"))
    except InvalidJob as error:
        return BadRow(number, identity, error.code, f"line {line}: {error.message}")
    images = tuple(image["url"] for image in fields.pop("images"))
    return Row(number, identity, images, overrides=fields, given=images)


def is_batch(record: object) -> bool:
    """Return whether the first line of a JSONL is that of such a file."""
    return isinstance(record, dict) and "custom_id" in record and "body" in record
