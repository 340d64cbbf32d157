"""The golden set: rows whose answers are known."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from producer.compare.answer_fields import ANSWER, TEXT, FieldKind, flat
from producer.job_options import read_text
from visionq.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from producer.compare.answer_fields import FieldRule

#: Keys of a line of OUT that are no fields of an answer.
_ID: Final = "id"


@dataclass(frozen=True)
class GoldenSet:
    """Known fields of rows by id; a row may leave fields out."""

    name: str
    rows: Mapping[str, Mapping[str, Any]]

    def check_ids(self, found: Iterable[str]) -> None:
        """Check that each id was found in the source.

        Raises:
            InvalidSource: one was not.
        """
        missing = sorted(set(self.rows) - set(found))
        if missing:
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            raise InvalidSource(f"{self.name}: SOURCE has no row {missing[0]!r}{more}")

    def check_fields(self, rules: Mapping[str, FieldRule]) -> None:
        """Check that each field is one of the answers.

        Raises:
            InvalidSource: one is not.
        """
        for row_id, fields in self.rows.items():
            for name in fields:
                if name not in rules:
                    there_are = ", ".join(rules)
                    raise InvalidSource(
                        f"{self.name}: row {row_id!r} has a field {name!r}, which no answer has;"
                        f" there are: {there_are}"
                    )


def read_golden(path: Path, rules: Mapping[str, FieldRule]) -> GoldenSet:
    """Read a golden set: JSONL as a run writes it, or CSV.

    Raises:
        click.BadParameter: the file can't be read.
        InvalidSource: it has no ids, an id twice, or a line of another form.
    """
    text = read_text(path, "--golden")
    lines = _of_csv(text, path, rules) if path.suffix.lower() == ".csv" else _of_jsonl(text, path)
    rows: dict[str, Mapping[str, Any]] = {}
    for line, row_id, fields in lines:
        if row_id in rows:
            raise InvalidSource(f"{path}, line {line}: the id {row_id!r} comes twice")
        rows[row_id] = fields
    if not rows:
        raise InvalidSource(f"{path}: it contains no answers")
    return GoldenSet(str(path), rows)


def _of_jsonl(text: str, path: Path) -> Iterable[tuple[int, str, dict[str, Any]]]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InvalidSource(f"{path}, line {line}: not JSON: {error}") from None
        if not isinstance(row, dict) or row.get(_ID) is None:
            raise InvalidSource(
                f"{path}, line {line}: give an object with `id` and `data` or `text`"
            )
        if row.get("error") is not None:
            continue  # a row of a run that has no answer
        yield line, str(row[_ID]), _fields(row, path, line)


def _fields(row: Mapping[str, Any], path: Path, line: int) -> dict[str, Any]:
    data = row.get("data")
    if isinstance(data, dict):
        return flat(data)
    if data is not None:
        return {ANSWER: data}
    if isinstance(row.get(TEXT), str):
        return {TEXT: row[TEXT]}
    raise InvalidSource(f"{path}, line {line}: neither `data` nor `text` is given")


def _of_csv(
    text: str, path: Path, rules: Mapping[str, FieldRule]
) -> Iterable[tuple[int, str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if _ID not in (reader.fieldnames or ()):
            raise InvalidSource(f"{path}: the first line has no column `id`")
        for row in reader:
            line = reader.line_num
            if None in row:
                raise InvalidSource(f"{path}, line {line}: more cells than columns")
            cells = {name: cell for name, cell in row.items() if name != _ID and cell}
            yield (
                line,
                row[_ID],
                {name: _cell(cell, rules.get(name)) for name, cell in cells.items()},
            )
    except csv.Error as error:
        raise InvalidSource(f"{path}, line {reader.line_num}: {error}") from None


def _cell(cell: str, rule: FieldRule | None) -> Any:  # noqa: ANN401  # any JSON value
    """Return the value of a cell: numbers and lists as JSON has them."""
    if rule is None or rule.kind in (FieldKind.TEXT, FieldKind.LABEL):
        return cell
    try:
        return json.loads(cell if rule.kind is FieldKind.LIST else cell.replace(",", "."))
    except (ValueError, RecursionError):
        parts = [part.strip() for part in cell.split(";")]
        return parts if rule.kind is FieldKind.LIST else cell
