"""Pictures as callers give them: what is read, what is refused, and under which name."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from visionq.blobs import sha256_of
from visionq.contract import ImageReference, PictureOptions
from visionq.errors import EmptyFile, InputFileNotFound, InvalidJob, TooLarge, VisionqError
from visionq.sdk.images import is_url, take_pictures
from visionq.sdk.submitting import MOST_BYTES, MOST_JOBS, SubmissionChunk, draft
from visionq.settings import Settings

MOST = 100
SETTINGS = Settings(max_image_bytes=MOST, default_model="m1")


@pytest.mark.parametrize("text", ["http://a", "HTTPS://a/b.png", "data:image/png;base64,AA"])
def test_urls(text: str) -> None:
    """Addresses are distinguished from paths by their beginning, in any case."""
    assert is_url(text)


@pytest.mark.parametrize("text", ["a.png", "./http", "C:/a.png", "ftp://a", "httpx.png", ""])
def test_paths(text: str) -> None:
    """Any other string is a path."""
    assert not is_url(text)


def problem(image: Any) -> VisionqError:
    with pytest.raises(VisionqError) as raised:
        take_pictures([image], MOST)
    return raised.value


def test_files_that_fail(tmp_path: Path) -> None:
    """Each way a file can fail has its code, and the error names the file as it was given."""
    (tmp_path / "empty.png").touch()
    (tmp_path / "large.png").write_bytes(b"x" * (MOST + 1))
    cases = {
        tmp_path / "none.png": (InputFileNotFound, "no such file"),
        tmp_path: (InputFileNotFound, "directory"),
        tmp_path / "large.png" / "below": (InputFileNotFound, "Not a directory"),
        tmp_path / "empty.png": (EmptyFile, "empty"),
        tmp_path / "large.png": (TooLarge, "more than 100 bytes"),
        "a\0b.png": (InputFileNotFound, "not a file name"),
        "n" * 5000: (InputFileNotFound, "too long"),
    }
    for path, (kind, message) in cases.items():
        error = problem(path)
        assert type(error) is kind
        assert message in error.message
        assert error.image == str(path)[-1024:]


def test_endless_file() -> None:
    """A file without an end is refused after one byte more than is allowed."""
    assert isinstance(problem("/dev/zero"), TooLarge)


@pytest.mark.parametrize(
    ("image", "kind", "name"),
    [
        (b"", EmptyFile, "image 1"),
        (b"x" * 101, TooLarge, "image 1"),
        (("a.png", b""), EmptyFile, "a.png"),
        ({"url": "data:image/png;base64,", "name": "inline"}, EmptyFile, "inline"),
        (io.BytesIO(b"x" * 101), TooLarge, "image 1"),
    ],
)
def test_bytes_that_fail(image: Any, kind: type[VisionqError], name: str) -> None:
    """Bytes are held to the same limits as files, under the best name there is."""
    error = problem(image)
    assert (type(error), error.image) == (kind, name)


@pytest.mark.parametrize("image", [7, None, ("a.png", "text"), io.StringIO("text"), ["a.png"]])
def test_no_picture(image: object) -> None:
    """A value that can be no picture is refused with its place."""
    error = problem(image)
    assert isinstance(error, InvalidJob)
    assert error.message.startswith("images.0: ")


@pytest.mark.parametrize("images", ["a.png", b"bytes", {"url": "https://a"}, Path("a"), None, 7])
def test_no_list(images: Any) -> None:
    """One picture, or none, where a list belongs is reported, and not taken letter by letter."""
    with pytest.raises(InvalidJob, match="give a list"):
        take_pictures(images, MOST)


def test_same_picture_twice() -> None:
    """A picture given twice is stored once and referred to twice."""
    pictures = take_pictures([b"a", bytearray(b"a"), memoryview(b"b")], MOST)
    assert pictures.contents == {sha256_of(b"a"): b"a", sha256_of(b"b"): b"b"}
    assert [one["blob"] for one in pictures.references] == [
        sha256_of(b"a"),
        sha256_of(b"a"),
        sha256_of(b"b"),
    ]


def test_names(tmp_path: Path) -> None:
    """A file is called by its last part; bytes that are no text are shown escaped."""
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(b"x")
    (reference,) = take_pictures([path], MOST).references
    assert reference["name"] == "caf\\udce9.png"
    assert draft({"prompt": "?", "images": [path]}, SETTINGS, "j").job.document.to_compact_json()


def test_references() -> None:
    """References of the contract pass as they are."""
    reference = ImageReference(blob="a" * 64, name="a")
    pictures = take_pictures([reference, {"blob": "b" * 64}], MOST)
    assert pictures.contents == {}
    assert [one["blob"] for one in pictures.references] == ["a" * 64, "b" * 64]


def test_draft() -> None:
    """A draft holds the checked document under the given id, and the bytes beside it."""
    made = draft({"prompt": "?", "images": [b"x"], "detail": "low"}, SETTINGS, "id-1")
    assert made.job.id == "id-1"
    assert made.job.document.blobs == (sha256_of(b"x"),)
    assert made.contents == {sha256_of(b"x"): b"x"}


def test_draft_without_pictures() -> None:
    """A question without pictures is refused by name."""
    with pytest.raises(InvalidJob, match="images"):
        draft({"prompt": "?"}, SETTINGS, "id-1")


def test_portion() -> None:
    """A portion is full by count or by bytes, whichever comes first."""
    small = draft({"prompt": "?", "images": [b"x"]}, SETTINGS, "a")
    portion = SubmissionChunk()
    for _ in range(MOST_JOBS):
        assert not portion.is_full
        portion.add(small)
    assert portion.is_full
    roomy = Settings(max_image_bytes=MOST_BYTES, default_model="m1")
    portion = SubmissionChunk()
    portion.add(draft({"prompt": "?", "images": [bytes(MOST_BYTES)]}, roomy, "b"))
    assert portion.is_full


@pytest.mark.parametrize("pictures", [{"shrink": True}, PictureOptions(shrink=True)])
def test_an_original_to_be_shrunk_may_be_larger(pictures: object) -> None:
    """If the job asks to shrink, the limit is that of originals."""
    data, settings = bytes(MOST + 1), Settings(max_image_bytes=MOST, max_original_bytes=MOST + 1)
    fields = {"prompt": "?", "images": [data], "model": "m1", "pictures": pictures}
    assert draft(fields, settings, "j1").contents
    with pytest.raises(TooLarge):
        draft({**fields, "pictures": {"shrink": False}}, settings, "j1")
    with pytest.raises(TooLarge):
        draft({**fields, "images": [data + b"x"]}, settings, "j1")
