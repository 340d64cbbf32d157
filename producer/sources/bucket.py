"""Pictures in an object store: every object below `s3://bucket/prefix`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from producer.sources.files import PICTURE_SUFFIXES, junk_in
from producer.sources.source import Row, Source
from visionq.errors import DownloadFailed, InputFileNotFound, InvalidSource
from visionq.installation import install_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from obstore.store import ObjectStore

    from producer.sources.source import BadRow
    from visionq.sdk import ImageInput

SCHEME: Final = "s3://"
_TIMEOUT: Final = timedelta(seconds=60)
_RETRYING: Final = timedelta(seconds=30)
_PORTION: Final = 1000


class Bucket(Source):
    """Objects with the suffix of a picture, in the order of the store; ids are names.

    Credentials, region and endpoint come from the variables that the store's own tools read,
    such as `AWS_ACCESS_KEY_ID` and `AWS_ENDPOINT_URL`.
    """

    columns = ("id", "file", "folder")
    _ids_may_repeat = False

    def __init__(self, url: str) -> None:
        self.description = f"bucket {url}"
        self._url = url
        self._store, self._bucket, self._prefix = *open_bucket(url), urlsplit(url).path[1:]

    def fingerprint(self) -> str:
        """Return its address: the content of a bucket may grow."""
        return f"bucket:{self._url}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        self.skipped = number = 0
        self.passed_over.clear()
        for name in self._names():
            if (junk := junk_in(name)) is not None:
                self.passed_over[junk] += 1
                continue
            if PurePosixPath(name).suffix.lower() not in PICTURE_SUFFIXES:
                self.skipped += 1
                continue
            number += 1
            folder, _, file = name.rpartition("/")
            variables = {"id": name, "file": file, "folder": folder}
            yield (
                number,
                Row(number, name, (f"{SCHEME}{self._bucket}/{name}",), variables, given=(name,)),
            )

    def _names(self) -> Iterator[str]:
        """List names page by page; the prefix is a folder."""
        with _store_errors(self._url):
            for page in self._store.list(self._prefix or None, chunk_size=_PORTION):
                for entry in page:
                    yield entry["path"]

    def _nothing(self) -> str:
        return f"it contains no picture ({self.skipped} objects of other kinds)"


def read_object(url: str, most_bytes: int) -> bytes:
    """Return an object, reading at most one byte more than `most_bytes`.

    Raises:
        InputFileNotFound: there is no such object.
        DownloadFailed: the store can't be read.
        InvalidSource: the address is wrong, or the extra is not installed.
    """
    store, _ = open_bucket(url)
    from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra, loaded where it is used

    content = bytearray()
    try:
        for portion in store.get(urlsplit(url).path[1:]):
            content += bytes(portion)
            if len(content) > most_bytes:
                break
    except FileNotFoundError:
        raise InputFileNotFound("there is no such object", image=url) from None
    except (BaseError, OSError) as error:
        raise DownloadFailed(_cause(error), image=url) from None
    return bytes(content)


def open_bucket(url: str) -> tuple[ObjectStore, str]:
    """Return the store of `s3://bucket/…`, and the bucket's name.

    Raises:
        InvalidSource: the address is wrong, or the extra is not installed.
    """
    bucket = urlsplit(url).netloc
    if not url.startswith(SCHEME) or not bucket:
        raise InvalidSource(f"{url}: write the address as s3://bucket/prefix")
    if find_spec("obstore") is None:
        raise InvalidSource(f"{url}: needs an extra: {install_command('blobs')}")
    return _store(bucket), bucket


@cache
def _store(bucket: str) -> ObjectStore:
    from obstore.store import from_url  # noqa: PLC0415  # an extra, loaded where it is used

    with _store_errors(f"{SCHEME}{bucket}"):
        return from_url(
            f"{SCHEME}{bucket}",
            # An endpoint without TLS is in the operator's own network.
            client_options={"connect_timeout": "5s", "timeout": _TIMEOUT, "allow_http": True},
            retry_config={"max_retries": 5, "retry_timeout": _RETRYING},
        )


@contextmanager
def _store_errors(url: str) -> Iterator[None]:
    from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra, loaded where it is used

    try:
        yield
    except (BaseError, OSError) as error:
        raise InvalidSource(f"{url}: can't be read: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    first = str(error).partition("\n")[0]
    return f"{first}; are AWS_ACCESS_KEY_ID, AWS_REGION and AWS_ENDPOINT_URL right?"


def take_row_pictures(images: Iterable[str], most_bytes: int) -> list[ImageInput]:
    """Return file names and addresses unchanged, and objects of a store as bytes.

    Raises:
        InputFileNotFound: there is no such object.
        DownloadFailed: the store can't be read.
    """
    return [
        (image, read_object(image, most_bytes)) if image.startswith(SCHEME) else image
        for image in images
    ]
