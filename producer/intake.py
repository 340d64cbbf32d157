"""What a person gives on the command line, turned into the fields of a job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from visionq.answer_schemas import check_schema
from visionq.errors import InputFileNotFound, InvalidJob
from visionq.sdk.images import is_url, read_picture
from visionq.submission import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from visionq.contract import JobDocument
    from visionq.sdk import ImageInput
    from visionq.settings import Settings

#: In place of a prompt: read it from stdin.
STDIN = "-"


def take_images(arguments: Iterable[str], most_bytes: int) -> list[ImageInput]:
    """Return addresses as they are and files as their bytes, under the names that were given.

    Raises:
        InputFileNotFound: no such file, a directory, or no right to read it.
        EmptyFile: no bytes.
        TooLarge: more than `most_bytes` bytes.
    """
    return [_take_image(argument, most_bytes) for argument in arguments]


def _take_image(argument: str, most_bytes: int) -> ImageInput:
    if is_url(argument):
        return argument
    if "://" in argument:
        raise InputFileNotFound(
            "of addresses http://, https:// and data: are taken; else give a file", image=argument
        )
    return (argument, read_picture(argument, most_bytes))


def take_prompt(prompt: str | None, file: Path | None, stdin: BinaryIO) -> str:
    """Return the prompt from whichever of the two was given; `-` stands for stdin.

    Raises:
        click.UsageError: neither or both were given, or there is no text.
    """
    if (prompt is None) == (file is None):
        raise click.UsageError("give the question with -p PROMPT or with --prompt-file FILE")
    if file is not None:
        text = read_text(file, "--prompt-file")
    elif prompt == STDIN:
        text = _decode(stdin.read(), "stdin", "--prompt")
    else:
        text = prompt or ""
    if not text.strip():
        raise click.UsageError("the prompt is empty")
    return text.strip()


def take_schema(file: Path) -> dict[str, Any]:
    """Return a JSON Schema from its file.

    Raises:
        click.BadParameter: it holds none, or one that no answer could be held against.
    """
    try:
        schema = json.loads(read_text(file, "--schema"))
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{file}: not JSON: {error}", param_hint="--schema") from None
    if not isinstance(schema, dict):
        raise click.BadParameter(f"{file}: not a JSON object", param_hint="--schema")
    try:
        check_schema(schema)
    except InvalidJob as error:
        said = error.message.removeprefix("answer_schema: ")
        message = f"{file}: not a JSON Schema: {said}"
        raise click.BadParameter(message, param_hint="--schema") from None
    return schema


def check_options(options: Mapping[str, Any], settings: Settings) -> JobDocument:
    """Refuse what is wrong in every row alike, before any of them is looked at.

    Returns a job with the options, about nothing.

    Raises:
        click.UsageError: a field of the jobs is wrong; the message names it.
    """
    anything = {"prompt": "?", "images": [{"url": "https://example.com"}]}
    try:
        return prepare({**options, **anything}, settings)
    except InvalidJob as error:
        raise click.UsageError(error.message) from None


def read_text(file: Path, option: str) -> str:
    """Return a UTF-8 file, without the mark that some editors put first."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint=option) from None
    return _decode(content, str(file), option)


def _decode(content: bytes, source: str, option: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.BadParameter(f"{source}: not a UTF-8 text", param_hint=option) from None
