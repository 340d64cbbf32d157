"""A table as an XLSX: numbers as numbers, links to pictures, in constant memory."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from producer.outputs import WORKBOOK_MARK
from producer.run.table_columns import TableColumn
from producer.thumbnails import can_make_thumbnails, thumbnail
from visionq.errors import RecordRefused
from visionq.installation import install_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from producer.run.table import TableForm
    from producer.run.table_columns import Cell

# Limits of the format: https://support.microsoft.com/office/1672b34d, 2026-11.
_MOST_ROWS: Final = 1_048_576
_MOST_LINKS: Final = 65_530
_LONGEST_LINK: Final = 2_079
#: A spreadsheet keeps 15 digits of a number.
_LARGEST: Final = 10**15
#: Rows that decide how wide columns are.
_SAMPLE: Final = 200
_WIDEST: Final = 60
_NARROWEST: Final = 8
#: Pixels of a thumbnail, and of the row and column that hold it.
_SIDE: Final = 96
_ROW_PIXELS: Final = 100
_PICTURE: Final = TableColumn("picture", str)


def check_workbook(*, thumbnails: bool) -> None:
    """Check that a workbook can be written here.

    Raises:
        RecordRefused: an extra is not installed.
    """
    if find_spec("xlsxwriter") is None:
        raise RecordRefused(f"XLSX needs an extra: {install_command('xlsx')}")
    if thumbnails and not can_make_thumbnails():
        raise RecordRefused(f"--thumbnails need an extra: {install_command('worker')}")


def write_workbook(
    rows: Iterable[dict[str, Any]], columns: list[TableColumn], path: Path, form: TableForm
) -> None:
    """Write the rows to a new workbook at `path`.

    Raises:
        OSError: it can't be written.
        RecordRefused: there are more rows than a sheet can hold.
    """
    from xlsxwriter import Workbook  # noqa: PLC0415  # an extra that only XLSX needs

    if form.thumbnails:
        columns = [_PICTURE, *columns]
    # The library's own drafts, and thumbnails, which it reads when the workbook is closed.
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".visionq-") as drafts,
        path.open("xb") as file,
    ):
        workbook = Workbook(file, {"constant_memory": True, "tmpdir": drafts})
        workbook.set_custom_property("Made by", WORKBOOK_MARK)
        _Sheet(workbook, columns, form, Path(drafts)).write(rows)
        workbook.close()
        file.flush()
        os.fsync(file.fileno())


class _Sheet:
    """The sheet of answers; rows are written in order and not kept."""

    def __init__(
        self,
        workbook: Any,  # noqa: ANN401  # the library is untyped
        columns: list[TableColumn],
        form: TableForm,
        drafts: Path,
    ) -> None:
        self._columns = columns
        self._form = form
        self._drafts = drafts
        self._zone = ZoneInfo(form.time_zone)
        self._links = 0
        self._sheet = workbook.add_worksheet("answers")
        top = {"valign": "top"}
        self._bold = workbook.add_format({"bold": True, "bottom": 1, **top})
        self._plain = workbook.add_format(top)
        self._wrapped = workbook.add_format({"text_wrap": True, **top})
        self._money = workbook.add_format({"num_format": "0.00########", **top})
        self._moment = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", **top})
        self._link = workbook.add_format({"font_color": "#0563C1", "underline": 1, **top})

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write the heading and all rows."""
        each = iter(rows)
        first = list(islice(each, _SAMPLE))
        self._set_up(first)
        for number, row in enumerate(chain(first, each), 1):
            if number >= _MOST_ROWS:
                raise RecordRefused(
                    f"a sheet holds {_MOST_ROWS - 1:,} rows: write a .csv or .parquet instead"
                )
            for place, column in enumerate(self._columns):
                self._write_cell(number, place, column, row)
            if self._form.thumbnails:
                self._sheet.set_row_pixels(number, _ROW_PIXELS)

    def _set_up(self, rows: list[dict[str, Any]]) -> None:
        sheet = self._sheet
        sheet.freeze_panes(1, 1)
        for place, column in enumerate(self._columns):
            sheet.write_string(0, place, _text(column.name), self._bold)
            if column is _PICTURE:
                sheet.set_column_pixels(place, place, _ROW_PIXELS)
                continue
            longest = max((len(str(column.cell(row) or "")) for row in rows), default=0)
            width = max(_NARROWEST, min(_WIDEST, max(longest, len(column.name)) + 1))
            sheet.set_column(place, place, width)
        sheet.autofilter(0, 0, 0, len(self._columns) - 1)

    def _write_cell(
        self, number: int, place: int, column: TableColumn, row: dict[str, Any]
    ) -> None:
        sheet = self._sheet
        if column is _PICTURE:
            self._show(number, place, row)
            return
        value = column.cell(row)
        if value is None or value == "":
            return
        if isinstance(value, bool):
            sheet.write_boolean(number, place, value, self._plain)
        elif column.is_moment:
            moment = datetime.fromisoformat(str(value)).astimezone(self._zone)
            sheet.write_datetime(number, place, moment.replace(tzinfo=None), self._moment)
        elif column.is_money:
            sheet.write_number(number, place, float(value), self._money)
        elif isinstance(value, int | float) and abs(value) < _LARGEST:
            sheet.write_number(number, place, value, self._plain)
        else:
            self._write_text(number, place, column, str(value))

    def _write_text(self, number: int, place: int, column: TableColumn, value: Cell) -> None:
        text = _text(str(value))
        target = self._target(text) if column.name == "file" and column.of_source is None else None
        # The library's own result is not looked at: a link that the format can't hold is a text.
        if target is not None and self._links < _MOST_LINKS and len(target) <= _LONGEST_LINK:
            self._links += 1
            self._sheet.write_url(number, place, target, self._link, text)
        else:
            style = self._wrapped if len(text) > _WIDEST else self._plain
            self._sheet.write_string(number, place, text, style)

    def _target(self, file: str) -> str | None:
        """Return the link to a picture; None if its place is unknown."""
        if file.lower().startswith(("http://", "https://")):
            return file
        path = self._path(file)
        return None if path is None else f"external:{path}"

    def _path(self, file: str) -> Path | None:
        """Return the absolute path of a local picture, if it is there."""
        if self._form.pictures is None or "://" in file:
            return None
        try:
            path = (self._form.pictures / file).resolve()
            return path if path.is_file() else None
        except (OSError, ValueError):
            return None

    def _show(self, number: int, place: int, row: dict[str, Any]) -> None:
        first = str(row.get("file") or "").split("; ", 1)[0]
        path = self._path(first)
        small = None if path is None else thumbnail(path, _SIDE, "JPEG")
        if small is None:
            return
        draft = self._drafts / f"{number}.jpg"
        draft.write_bytes(small)
        options = {"x_offset": 2, "y_offset": 2, "object_position": 1, "description": first}
        self._sheet.insert_image(number, place, str(draft), options)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
