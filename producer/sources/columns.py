"""Which columns of a manifest hold what, and one record of it as a row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from producer.sources.row import BadRow, Row
from visionq.errors import InvalidJob, InvalidSource
from visionq.sdk.images import is_url

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """The columns of pictures, in order, and that of the id."""

    images: tuple[str, ...]
    id: str | None
    #: What names of files are relative to.
    folder: Path

    def row(self, number: int, line: int, record: Mapping[str, object]) -> Row | BadRow:
        """Return the row that a record stands for, or why it stands for none."""
        variables = {name: as_text(value) for name, value in record.items()}
        identity = variables.get(self.id, "") if self.id else ""
        try:
            images = self._images(record)
        except InvalidJob as error:
            bad_id = identity or f"line {line}"
            return BadRow(number, bad_id, error.code, f"line {line}: {error.message}")
        if self.id and not identity:
            message = f"line {line}: {self.id} is empty"
            return BadRow(number, f"line {line}", InvalidJob.code, message)
        # A picture inside its address is no name.
        first = "" if images[0].startswith("data:") else as_text(_first(record, self.images))
        located = tuple(locate(image, self.folder) for image in images)
        return Row(number, identity or first or f"line {line}", located, variables)

    def _images(self, record: Mapping[str, object]) -> list[str]:
        images = [image for name in self.images for image in _addresses(name, record.get(name))]
        if not images:
            raise InvalidJob(f"{' and '.join(self.images)}: empty")
        return images


def choose_columns(
    names: Sequence[str], options: SourceOptions, folder: Path, where: str
) -> Columns:
    """Return which columns are meant, by the options or by their usual names.

    Raises:
        InvalidSource: there is no such column; the message names those that there are.
    """
    there_are = f"there are: {', '.join(map(repr, names))}"
    wanted = [*options.image_columns, *([options.id_column] if options.id_column else [])]
    for name in wanted:
        if name not in names:
            raise InvalidSource(f"{where}: no column {name!r}; {there_are}")
    images = options.image_columns or _usual_images(names)
    if not images:
        raise InvalidSource(
            f"{where}: no column of pictures; name it with --image-column; {there_are}"
        )
    by_name = {name.strip().lower(): name for name in reversed(names)}
    usual = next((by_name[name] for name in _ID_NAMES if name in by_name), None)
    return Columns(images, options.id_column or usual, folder)


def _usual_images(names: Sequence[str]) -> tuple[str, ...]:
    """Return the column of the first usual name that there is, or its numbered ones."""
    for usual in _IMAGE_NAMES:
        if exact := [name for name in names if name.strip().lower() == usual]:
            return tuple(exact[:1])
        numbered = [
            name
            for name in names
            if (found := _NUMBERED.fullmatch(name.strip().lower())) and found["name"] == usual
        ]
        if numbered:
            return tuple(numbered)
    return ()


def _first(record: Mapping[str, object], names: Sequence[str]) -> object:
    value = next((record[name] for name in names if record.get(name)), "")
    listed = _listed(value)
    return listed[0] if len(listed) == 1 and isinstance(listed[0], str) else value


def _addresses(name: str, value: object) -> list[str]:
    """Return the pictures of one cell: one address, or a list of them.

    Raises:
        InvalidJob: something else stands there.
    """
    found = []
    for item in _listed(value):
        address = item.get("url") if isinstance(item, Mapping) else item
        if not isinstance(address, str):
            raise InvalidJob(f"{name}: {as_text(item)[:80]} is no address of a picture")
        if address.strip():
            found.append(address.strip())
    return found


def _listed(value: object) -> list[object]:
    if isinstance(value, str) and value.lstrip().startswith('["'):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]  # the name of a file may begin so
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def locate(image: str, folder: Path) -> str:
    """Return the address of a picture, the name of a file relative to `folder` resolved."""
    if is_url(image) or image.startswith("s3://"):
        return image
    return str(folder / Path(image).expanduser())


def as_text(value: object) -> str:
    """Return a value as it is put into a prompt: JSON where it is neither text nor nothing."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
