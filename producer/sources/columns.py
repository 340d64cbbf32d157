"""Find the columns of a manifest, and read its records as rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from producer.job_options import check_job_columns, fields_of_columns
from producer.sources.picture_addresses import Address, addresses_in, clean, locate
from producer.sources.source import ROW_FAULTS, BadRow, Row, make_row, row_fault, whole
from visionq.errors import InvalidJob, InvalidSource
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from producer.sources.source import SourceOptions

_IMAGE_NAMES: Final = (
    "image", "images", "image_url", "image_path", "url", "path", "file", "filename", "file_name",
    "picture", "photo", "src", "изображение", "картинка", "фото", "файл", "ссылка",
)  # fmt: skip
_ID_NAMES: Final = ("id", "custom_id", "key", "sku", "артикул")
#: `image_1`, `image2`, `фото 3`: several pictures of one row.
_NUMBERED: Final = re.compile(r"(?P<name>.*?)[ _-]?\d{1,2}")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of pictures, in order, and the column of the id."""

    images: tuple[str, ...]
    id: str | None
    #: The folder of relative file names.
    folder: Path

    @property
    def spoken(self) -> str:
        """The use of the columns, for people."""
        pictures = ", ".join(map(repr, self.images))
        return f"pictures: {pictures}; ids: {repr(self.id) if self.id else 'names of the pictures'}"

    def row(self, number: int, line: int, record: Mapping[str, object]) -> Row | BadRow:
        """Return the row of a record, or a `BadRow` that says why there is none."""
        return make_row(number, line, lambda: self._row(number, line, record))

    def _row(self, number: int, line: int, record: Mapping[str, object]) -> Row | BadRow:
        variables = {name: as_text(value) for name, value in record.items()}
        shown = {name: value for name, value in variables.items() if not is_data_url(value)}
        identity = clean(variables.get(self.id, "")) if self.id else ""
        try:
            images, overrides = self._images(record), fields_of_columns(record)
        except (InvalidJob, *ROW_FAULTS) as error:
            fault = error if isinstance(error, InvalidJob) else row_fault(error)
            bad_id = identity or f"line {line}"
            return BadRow(number, bad_id, fault.code, f"line {line}: {fault.message}", shown)
        if self.id and not identity:
            message = f"line {line}: {self.id} is empty"
            return BadRow(number, f"line {line}", InvalidJob.code, message, shown)
        given = tuple(image.given for image in images)
        # A picture inside its address has no name.
        first = "" if is_data_url(given[0]) else given[0]
        located = tuple(image.located for image in images)
        row_id = identity or first or f"line {line}"
        return Row(number, row_id, located, variables, overrides, given, shown)

    def _images(self, record: Mapping[str, object]) -> list[Address]:
        images = [
            image
            for name in self.images
            for image in _addresses(name, record.get(name), self.folder)
        ]
        if not images:
            raise InvalidJob(f"{' and '.join(self.images)}: empty")
        return images


def choose_columns(
    names: Sequence[str], options: SourceOptions, folder: Path, where: str
) -> Columns:
    """Return the columns that the options name, else those with usual names.

    Raises:
        InvalidSource: there is no such column; the message lists the columns.
    """
    there_are = f"the columns are: {', '.join(repr(name) for name in names if name)}"
    wanted = [*options.image_columns, *([options.id_column] if options.id_column else [])]
    for name in wanted:
        if name not in names:
            raise InvalidSource(f"{where}: no column {name!r}; {there_are}")
    check_job_columns(names, where)
    images = find_images(names, options)
    if not images:
        raise InvalidSource(
            f"{where}: no column of pictures; name it with --image-column; {there_are}"
        )
    by_name = {name.lower(): name for name in reversed(names)}
    usual = next((by_name[name] for name in _ID_NAMES if name in by_name), None)
    return Columns(images, options.id_column or usual, folder)


def find_images(names: Sequence[str], options: SourceOptions) -> tuple[str, ...]:
    """Return the columns of pictures: those named, else the first usual name, numbered or not."""
    if options.image_columns:
        return options.image_columns if set(options.image_columns) <= set(names) else ()
    for usual in _IMAGE_NAMES:
        exact = [name for name in names if name.lower() == usual][:1]
        numbered = [
            name
            for name in names
            if (found := _NUMBERED.fullmatch(name.lower())) and found["name"] == usual
        ]
        if exact or numbered:
            return (*exact, *numbered)
    return ()


def _addresses(name: str, value: object, folder: Path) -> list[Address]:
    """Return the pictures of a cell: one address, several, or a JSON list of them.

    Raises:
        InvalidJob: the cell holds something else.
    """
    found: list[Address] = []
    for item in _listed(value):
        address = item.get("url") if isinstance(item, Mapping) else item
        if not isinstance(address, str):
            raise InvalidJob(f"{name}: {as_text(item)[:80]} is not the address of a picture")
        if item is value:
            found += addresses_in(address, folder)
        elif address.strip():
            found.append(locate(address.strip(), folder))
    return found


def _listed(value: object) -> list[object]:
    if isinstance(value, str) and value.lstrip().startswith('["'):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]  # a file name may begin like JSON
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def as_text(value: object) -> str:
    """Return a value as text for the prompt: null is empty, other types are JSON."""
    if isinstance(value, str):
        return whole(value)
    return "" if value is None else whole(json.dumps(value, ensure_ascii=False))
