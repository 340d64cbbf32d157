"""Frames of each kind as records, and the manifest that is made of them."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from visionq.errors import InvalidJob, InvalidSource
from visionq.installation import install_command

if TYPE_CHECKING:
    from pathlib import Path

    from visionq.frames.answer_columns import AnswerColumn

#: Columns of the manifest; a frame's own may have usual names.
_ID: Final = "visionq id"
_IMAGE: Final = "visionq image"
#: Columns of a frame that set a field of their row's job.
_PREFIX: Final = "visionq."
_IN_BRACES: Final = re.compile(r"\{([^{}\n]+)\}")
#: How pandas writes what is missing.
_MISSING: Final = ("NaT", "<NA>")
_SCHEME: Final = re.compile(r"(?:https?|s3|file)://|data:", re.IGNORECASE)


class FrameTable(Protocol):
    """A frame as this module reads and extends it."""

    columns: tuple[str, ...]

    def records(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield each row's values of some columns."""
        ...

    def with_columns(self, columns: Sequence[AnswerColumn]) -> Any:  # noqa: ANN401  # of the frame's own kind
        """Return the frame with more columns."""
        ...


class ListTable:
    """A list of dicts, or of pictures."""

    def __init__(self, rows: Sequence[Any], image: str) -> None:
        self._rows = [row if isinstance(row, Mapping) else {image: row} for row in rows]
        self.columns = tuple(dict.fromkeys(name for row in self._rows for name in row)) or (image,)

    def records(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield each row's values; a row may lack some."""
        return ({name: row.get(name) for name in names} for row in self._rows)

    def with_columns(self, columns: Sequence[AnswerColumn]) -> list[dict[str, Any]]:
        """Return new dicts."""
        return [
            {**row, **{column.name: column.values[number] for column in columns}}
            for number, row in enumerate(self._rows)
        ]


class NarwhalsTable:
    """A pandas or polars frame, or an Arrow table."""

    def __init__(self, frame: Any) -> None:  # noqa: ANN401  # narwhals' own
        self._frame = frame
        self.columns = tuple(frame.columns)

    def records(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield each row's values as plain Python's."""
        rows: Iterator[Mapping[str, Any]] = self._frame.select(*names).iter_rows(named=True)
        return rows

    def with_columns(self, columns: Sequence[AnswerColumn]) -> Any:  # noqa: ANN401  # of the frame's own kind
        """Return a frame of the same kind."""
        import narwhals as nw  # noqa: PLC0415  # an extra

        backend = self._frame.implementation
        series = [
            nw.new_series(
                column.name,
                column.values,
                None if backend.is_pandas_like() else column.data_type(),
                backend=backend,
            )
            for column in columns
        ]
        return self._frame.with_columns(*series).to_native()


def table_of(frame: object, image: str) -> FrameTable:
    """Return a frame as a table.

    Raises:
        InvalidSource: it is none, or is read only when it is collected.
    """
    if isinstance(frame, (list, tuple)):
        return ListTable(frame, image)
    try:
        import narwhals as nw  # noqa: PLC0415  # an extra
    except ImportError:
        raise InvalidSource(
            f"frames other than lists need an extra: {install_command('frames')}"
        ) from None
    try:
        return NarwhalsTable(nw.from_native(frame, eager_only=True))
    except TypeError:
        raise InvalidSource(
            "give a pandas or polars frame (a lazy one after `collect`), an Arrow table or a list,"
            f" not {type(frame).__name__}"
        ) from None


class Manifest:
    """The rows to ask about: each different one once."""

    def __init__(
        self, table: FrameTable, images: tuple[str, ...], id_column: str | None, prompt: str
    ) -> None:
        """Read the frame once.

        Raises:
            InvalidSource: it lacks a column, or an id occurs twice for different rows.
            InvalidJob: a value can't be given to a job.
        """
        for name in (*images, *([id_column] if id_column else [])):
            if name not in table.columns:
                there_are = ", ".join(map(repr, table.columns)) or "none"
                raise InvalidSource(f"the frame has no column {name!r}; there are: {there_are}")
        self._images, self._id = images, id_column
        # pandas numbers columns without a name: no prompt can mean those.
        self._columns = [name for name in table.columns if isinstance(name, str)]
        in_prompt = set(_IN_BRACES.findall(prompt))
        self._used = [
            name for name in self._columns if name in in_prompt or name.startswith(_PREFIX)
        ]
        self._rows: dict[str, str] = {}
        #: The id of each row of the frame, in order.
        self.ids: list[str] = []
        needed = dict.fromkeys((*images, *self._used, *([id_column] if id_column else [])))
        for number, record in enumerate(table.records(list(needed)), 1):
            self._add(number, record)

    @property
    def arguments(self) -> list[str]:
        """Options of the command line that describe it."""
        return ["--format", "jsonl", "--id-column", _ID, "--image-column", _IMAGE]

    def _add(self, number: int, record: Mapping[str, Any]) -> None:
        pictures = [one for name in self._images for one in _pictures(record[name], name, number)]
        row = {_IMAGE: pictures, **{name: plain(record[name]) for name in self._used}}
        text = json.dumps(row, ensure_ascii=False)
        row_id = _digest(text) if self._id is None else plain(record[self._id])
        if row_id in (None, ""):
            raise InvalidSource(f"row {number}: {self._id} is empty")
        row_id = str(row_id)
        if self._rows.setdefault(row_id, text) != text:
            raise InvalidSource(f"row {number}: the id {row_id!r} belongs to another row, too")
        self.ids.append(row_id)

    def write(self, path: Path) -> None:
        """Write it as JSONL."""
        # The first line names all columns: the error of a prompt that asks for another lists them.
        every = {name: None for name in self._columns if name not in (*self._images, self._id)}
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for row_id, text in self._rows.items():
                line = {_ID: row_id, **every, **json.loads(text)}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                every = {}


def _pictures(cell: object, column: str, number: int) -> list[str]:
    """Return the pictures of a cell; the run reports a row without one."""
    found = plain(cell, keep_bytes=True)
    several = found if isinstance(found, list) else [found]
    return [_address(one, column, number) for one in several if one not in (None, "", b"")]


def _address(picture: object, column: str, number: int) -> str:
    if isinstance(picture, Mapping):  # as Hugging Face's data sets have it
        picture = picture.get("bytes") or picture.get("path") or picture.get("url")
    if isinstance(picture, bytes):
        return f"data:application/octet-stream;base64,{base64.b64encode(picture).decode()}"
    if isinstance(picture, str) and picture:
        return picture if _SCHEME.match(picture) else os.path.abspath(os.path.expanduser(picture))  # noqa: PTH100, PTH111  # `Path` refuses some names that the run then tells of
    raise InvalidJob(f"row {number}: {column} has no path, address or bytes, but {picture!r:.80}")


def plain(value: Any, *, keep_bytes: bool = False) -> Any:  # noqa: ANN401  # a cell may have anything
    """Return a cell as JSON has it; what is missing in any library is None."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value) if keep_bytes else None
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if value is None or isinstance(value, (str, int)):
        return value
    # numpy's scalars and arrays, and the lists of Arrow and polars
    to_list = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    if to_list is not None:
        return plain(to_list(), keep_bytes=keep_bytes)
    return _plain_whole(value, keep_bytes=keep_bytes)


def _plain_whole(value: Any, *, keep_bytes: bool) -> Any:  # noqa: ANN401  # as above
    if isinstance(value, Mapping):
        return {str(key): plain(one, keep_bytes=keep_bytes) for key, one in value.items()}
    if isinstance(value, Iterable):
        return [plain(one, keep_bytes=keep_bytes) for one in value]
    text = str(value)  # a path, a moment, an amount
    return None if text in _MISSING else text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:24]
