"""What a person gives on the command line: pictures, prompts, schemas."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest

from producer.job_options import take_images, take_prompt, take_schema
from visionq.errors import EmptyFile, InputFileNotFound, TooLarge

NO_STDIN = io.BytesIO()


def test_images(tmp_path: Path) -> None:
    """Files are read under the name that was given, and addresses stay addresses."""
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    taken = take_images([str(path), "https://example.com/b.png"], 10)
    assert taken == [(str(path), b"x"), "https://example.com/b.png"]


def test_images_that_fail(tmp_path: Path) -> None:
    """The first picture that can't be read is named as it was given."""
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"123")
    for name, kind in {
        "none": InputFileNotFound,
        "": InputFileNotFound,
        "empty": EmptyFile,
        "large": TooLarge,
    }.items():
        with pytest.raises(kind) as raised:
            take_images([str(tmp_path / name)], 2)
        assert raised.value.image == str(tmp_path / name)


def test_other_addresses() -> None:
    """An address of another kind is reported as such, not as a file that is missing."""
    with pytest.raises(InputFileNotFound, match="http://"):
        take_images(["ftp://example.com/a.png"], 10)


def test_prompt(tmp_path: Path) -> None:
    """The prompt comes from the option, from a UTF-8 file, or from stdin."""
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "Что там?\n".encode())
    assert take_prompt("What?", None, NO_STDIN) == "What?"
    assert take_prompt(None, file, NO_STDIN) == "Что там?"
    assert take_prompt("-", None, io.BytesIO("Что?\n".encode())) == "Что?"


@pytest.mark.parametrize(
    ("prompt", "file", "stdin"),
    [
        (None, None, b""),
        ("What?", Path("also.txt"), b""),
        ("", None, b""),
        ("-", None, b" \n"),
        ("-", None, b"\xff"),
        (None, Path("/nowhere/prompt.txt"), b""),
        (None, Path("/"), b""),
    ],
)
def test_no_prompt(prompt: str | None, file: Path | None, stdin: bytes) -> None:
    """No prompt, two prompts, and what is no text are errors of usage."""
    with pytest.raises(click.UsageError):
        take_prompt(prompt, file, io.BytesIO(stdin))


def test_schema(tmp_path: Path) -> None:
    """A schema is a JSON object by which an answer can be told right or wrong."""
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object"}')
    assert take_schema(file) == {"type": "object"}
    for wrong in ("{", "[]", '"text"', '{"type": "objekt"}', '{"$ref": "#/nowhere"}'):
        file.write_text(wrong)
        with pytest.raises(click.BadParameter, match="not"):
            take_schema(file)
