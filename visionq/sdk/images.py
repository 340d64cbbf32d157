"""Turn the pictures that callers give into references and bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from visionq.blobs import sha256_of
from visionq.contract import ImageReference
from visionq.errors import InputFileNotFound, InvalidJob
from visionq.submission import check_size, decode_data_url, is_data_url

if TYPE_CHECKING:
    from visionq.sdk.arguments import ImageInput

_LONGEST_NAME: Final = 1024
_LONGEST_SCHEME: Final = 20
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(slots=True)
class Pictures:
    """The pictures of one job: references for its document, and bytes to store first."""

    references: list[dict[str, Any]] = field(default_factory=list)
    #: By sha256, so that equal pictures are stored once.
    contents: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes, name: str | None) -> None:
        """Add a picture by its bytes."""
        sha256 = sha256_of(content)
        self.contents[sha256] = content
        self.references.append({"blob": sha256, "name": name})


def is_url(text: str) -> bool:
    """Return whether a string is a URL rather than a file name."""
    return text[:8].lower().startswith(("http://", "https://", "data:"))


def take_pictures(images: Iterable[ImageInput], most_bytes: int) -> Pictures:
    """Read files and data URLs; refuse pictures of more than `most_bytes`.

    Raises:
        InputFileNotFound: no such file, a directory, or no right to read it.
        EmptyFile: no bytes.
        TooLarge: more than `most_bytes` bytes.
        InvalidJob: a value of a wrong type.
    """
    one = isinstance(images, (str, bytes, os.PathLike, Mapping))
    if one or not isinstance(images, Iterable):
        raise InvalidJob("images: give a list of pictures, not one picture")
    pictures = Pictures()
    for position, image in enumerate(images):
        _take(pictures, image, position, most_bytes)
    return pictures


def _take(pictures: Pictures, image: ImageInput, position: int, most: int) -> None:
    label = f"image {position + 1}"
    match image:
        case str() if is_url(image):
            _take_reference(pictures, {"url": image}, position, most)
        case str() if scheme := _SCHEME.match(image):
            raise InvalidJob(
                f"images.{position}: give an address with http://, https:// or data:,"
                f" not {scheme[1][:_LONGEST_SCHEME]}://"
            )
        case str() | os.PathLike():
            name = _printable(Path(image).name)
            pictures.add(read_picture(image, most), name)
        case bytes() | bytearray() | memoryview():
            pictures.add(check_size(bytes(image), label, most), None)
        case (str() as name, bytes() | bytearray() | memoryview() as content):
            pictures.add(check_size(bytes(content), name, most), _printable(name))
        case ImageReference():
            pictures.references.append(image.model_dump())
        case Mapping():
            _take_reference(pictures, dict(image), position, most)
        case _ if hasattr(image, "read"):
            _take_open_file(pictures, image, position, most)
        case _:
            raise InvalidJob(
                f"images.{position}: give a path, URL, bytes, (name, bytes) or an open file,"
                f" not {type(image).__name__}"
            )


def _take_reference(
    pictures: Pictures, reference: dict[str, Any], position: int, most: int
) -> None:
    """Add a reference unchanged, or the bytes of a data URL."""
    if not is_data_url(reference.get("url")):
        pictures.references.append(reference)
        return
    name = reference.get("name")
    content = decode_data_url(reference["url"], position, most, name)
    pictures.add(check_size(content, name or f"image {position + 1}", most), name)


def _take_open_file(pictures: Pictures, file: IO[bytes], position: int, most: int) -> None:
    try:
        content: object = file.read(most + 1)
    except (OSError, ValueError) as error:  # closed, or opened for writing
        raise InvalidJob(f"images.{position}: the file can't be read: {error}") from None
    if not isinstance(content, bytes):
        raise InvalidJob(f"images.{position}: open the file for reading bytes (mode 'rb')")
    # A file that is not on disk has no name, or a number.
    path = getattr(file, "name", None)
    name = _printable(Path(path).name) if isinstance(path, str) else None
    pictures.add(check_size(content, name or f"image {position + 1}", most), name)


def read_picture(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the bytes of a file, reading at most one more than `most`.

    Raises:
        InputFileNotFound: no such file, a directory, or no right to read it.
        EmptyFile: no bytes.
        TooLarge: more than `most` bytes.
    """
    name = _printable(os.fspath(path))
    try:
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise InputFileNotFound("there is no such file", image=name) from None
    except IsADirectoryError:
        raise InputFileNotFound("this is a directory; give the files in it", image=name) from None
    except OSError as error:
        raise InputFileNotFound(f"can't be read: {error.strerror}", image=name) from None
    except ValueError as error:  # a path with a NUL byte
        raise InputFileNotFound(f"not a file name: {error}", image=name) from None
    return check_size(content, name, most)


def _printable(name: str) -> str:
    """Escape bytes of a file name that are not text: documents must be valid."""
    return name.encode("utf-8", "backslashreplace").decode()[-_LONGEST_NAME:]
