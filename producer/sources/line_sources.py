"""Text files with one job a line: lists of pictures, and OpenAI Batch input."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from producer.openai_requests.request_reader import read_request
from producer.sources.manifest import broken_line, rows_of_jsonl
from producer.sources.picture_addresses import locate
from producer.sources.source import BadRow, Reading, Row, make_row
from visionq.errors import InvalidJob
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from producer.sources.text_file import TextFile


class Listing(Reading):
    """A text with one picture a line, whose line is its id; blank lines and `#` are skipped."""

    columns = ("id",)

    def __init__(self, file: TextFile, name: str, folder: Path) -> None:
        self.description = f"{name} (list, {file.spoken_encoding})"
        self._file = file
        self._folder = folder

    def fingerprint(self) -> str:
        """Return the hash of its content."""
        return f"list:{self._file.sha256}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        named = ((line, text) for line, text in self._file.lines() if not text.startswith("#"))
        for number, (line, text) in enumerate(named, 1):
            yield line, make_row(number, line, partial(self._row, number, line, text))

    def _row(self, number: int, line: int, text: str) -> Row:
        identity = f"line {line}" if is_data_url(text) else text
        image = locate(text, self._folder)
        return Row(number, identity, (image.located,), {"id": identity}, given=(image.given,))


class OpenAIBatch(Reading):
    """Lines `{"custom_id", "method", "url", "body"}`, each with its own prompt and options."""

    asks_itself = True

    def __init__(self, file: TextFile, name: str) -> None:
        self.description = f"{name} (OpenAI Batch input)"
        self._file = file

    def fingerprint(self) -> str:
        """Return the hash of its content."""
        return f"openai-batch:{self._file.sha256}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        return rows_of_jsonl(self._file, _batch_row)


def _batch_row(number: int, line: int, record: dict[str, Any]) -> Row | BadRow:
    return make_row(number, line, partial(_row, number, line, record))


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
    """Return whether the first line of a JSONL is OpenAI Batch input."""
    return isinstance(record, dict) and "custom_id" in record and "body" in record
