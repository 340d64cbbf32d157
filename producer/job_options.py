"""Fields of a job as people give them: command-line options, files and columns of manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import click

from visionq.answer_schemas import check_schema
from visionq.contract import (
    Animated,
    Api,
    Detail,
    JobDocument,
    PictureOptions,
    Policy,
    PromptCache,
    Reuse,
    UnknownBilling,
    UrlMode,
)
from visionq.contract.pictures import ASKED_OF_MODEL, COMPUTED
from visionq.errors import InputFileNotFound, InvalidJob, InvalidSource
from visionq.sdk.images import is_url, read_picture
from visionq.submission import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from enum import StrEnum

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


Command = TypeVar("Command", bound="Callable[..., Any]")

#: Fields of a job that commands set by themselves, or that are no options of it.
OWN_FIELDS: Final = frozenset(
    (
        *("schema_version", "prompt", "images", "pictures", "priority", "batch_id"),
        *("replay_of", "idempotency_key", "answer_format"),
    )
)
#: Before the name of a field that a column of a manifest sets for its rows.
COLUMN_PREFIX: Final = "visionq."
_FIRST_FRAME: Final = "first_frame"
_JSON_FIELDS: Final = frozenset({"answer_schema", "extra_body", "metadata"})
_TRUE: Final = frozenset({"true", "1", "yes", "on", "да", "истина", "+"})
_FALSE: Final = frozenset({"false", "0", "no", "off", "нет", "ложь", "-"})
_PERMISSIONS: Final = ("convert", "shrink", "flatten", "unterminated", "crops")
_FLAGS: Final = frozenset({*_PERMISSIONS, _FIRST_FRAME, "repair"})
_REQUIREMENTS: Final = click.Choice((*ASKED_OF_MODEL, *COMPUTED))
_POLICIES: Final = (Policy.REJECT, Policy.WARN, Policy.OFF)


def _choice(kind: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([one.value for one in kind])


class _Object(click.ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "json"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> dict[str, Any]:
        """Return it; what is none ends the command."""
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail("not a JSON object", param, ctx)
        return found


_OPTIONS: Final = (
    click.option("--model", help="Model to ask.  [default: VISIONQ_DEFAULT_MODEL]"),
    click.option("--api", type=_choice(Api), help="Surface to call."),
    click.option("--detail", type=_choice(Detail), help="How closely to look."),
    click.option(
        "--schema",
        type=click.Path(dir_okay=False, path_type=Path),
        help="JSON Schema that the answer must match.",
    ),
    click.option("--instructions", help="What the model is to heed, whatever the question."),
    click.option("--max-output-tokens", type=click.IntRange(16), help="Longest answer."),
    click.option(
        "--effort",
        help="How long to think, such as `none` or `low`.  [default: the least the model takes]",
    ),
    click.option(
        "--prompt-cache",
        type=_choice(PromptCache),
        help="What the provider keeps of the prompt.  [default: long instructions of many jobs]",
    ),
    click.option("--prompt-cache-ttl", help="How long it is kept at least, such as `12h`."),
    click.option("--tenant", help="Who is charged.  [default: default]"),
    click.option("--first-frame", is_flag=True, help="Take the first frame of animated pictures."),
    click.option(
        "--convert", is_flag=True, help="Convert BMP, TIFF and AVIF, and HEIC by the extra `heic`."
    ),
    click.option("--shrink", is_flag=True, help="Take larger files, and shrink them first."),
    click.option("--flatten", is_flag=True, help="Put transparent pictures on white."),
    click.option(
        "--unterminated",
        is_flag=True,
        help="Take JPEG and GIF that lack nothing but their end marker.",
    ),
    click.option(
        "--crops",
        is_flag=True,
        help="Cut long pictures into overlapping crops that the model can read.",
    ),
    click.option("--reject", type=_REQUIREMENTS, multiple=True, help="Fail pictures with this."),
    click.option("--warn", type=_REQUIREMENTS, multiple=True, help="Warn of pictures with this."),
    click.option("--off", type=_REQUIREMENTS, multiple=True, help="Do not look for this."),
    click.option("--temperature", type=click.FloatRange(0, 2), help="How freely to answer."),
    click.option("--service-tier", help="How the provider is to schedule it, such as `flex`."),
    click.option(
        "--reuse",
        type=_choice(Reuse),
        help="What a stored answer to the same question is good for.  [default: use]",
    ),
    click.option("--no-repair", is_flag=True, help="Do not have an answer of another form mended."),
    click.option("--url-mode", type=_choice(UrlMode), help="Who fetches pictures by address."),
    click.option(
        "--on-unknown-billing",
        type=_choice(UnknownBilling),
        help="What follows a call that may have been billed.",
    ),
    click.option(
        "--extra-body", type=_Object(), help="JSON object with further fields of the request."
    ),
    click.option("--metadata", type=_Object(), help="JSON object that is kept with the job."),
    click.option(
        "--deadline",
        type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
        help="When it is too late to ask; a time without a zone is this machine's.",
    ),
)


def job_options(command: Command) -> Command:
    """Give a command these options; `take_job_options` reads what came of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_job_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a job that the command's options stand for.

    Raises:
        click.UsageError: a requirement was given two policies.
        click.BadParameter: the file of the schema holds none.
    """
    rest = dict(options)
    pictures: dict[str, Any] = {name: True for name in _PERMISSIONS if rest.pop(name)}
    if rest.pop(_FIRST_FRAME):
        pictures["animated"] = Animated.FIRST_FRAME.value
    for policy in _POLICIES:
        for requirement in rest.pop(policy.value):
            if pictures.setdefault(requirement, policy.value) != policy.value:
                raise click.UsageError(f"two policies were given for {requirement!r}")
    fields = {name: value for name, value in rest.items() if value is not None}
    if (schema := fields.pop("schema", None)) is not None:
        fields["answer_schema"] = take_schema(schema)
    if isinstance(moment := fields.get("deadline"), datetime):
        fields["deadline"] = moment.astimezone()
    if fields.pop("no_repair"):
        fields["repair"] = False
    return fields | ({"pictures": pictures} if pictures else {})


# Columns ------------------------------------------------------------------------------------------


def column_names() -> tuple[str, ...]:
    """Return the columns by which rows of a manifest set fields of their jobs."""
    fields = (name for name in JobDocument.model_fields if name not in OWN_FIELDS)
    names = (*fields, *PictureOptions.model_fields, _FIRST_FRAME)
    return tuple(f"{COLUMN_PREFIX}{name}" for name in names)


def check_job_columns(columns: Iterable[str], where: str) -> None:
    """See that columns which are to set fields of jobs name some.

    Raises:
        InvalidSource: one does not; the message names those that there are.
    """
    known = column_names()
    for column in columns:
        if column.startswith(COLUMN_PREFIX) and column not in known:
            message = f"{where}: column {column!r} sets nothing; there are: {', '.join(known)}"
            raise InvalidSource(message)


def fields_of_columns(record: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of a job that a record's columns set; an empty cell sets none.

    Raises:
        InvalidJob: a cell holds nothing that its column can be.
    """
    fields: dict[str, Any] = {}
    pictures: dict[str, Any] = {}
    for column, value in record.items():
        name = column.removeprefix(COLUMN_PREFIX)
        if name == column or value is None or (isinstance(value, str) and not value.strip()):
            continue
        found = _value(column, name, value)
        if name == _FIRST_FRAME:
            pictures["animated"] = (Animated.FIRST_FRAME if found else Animated.REFUSE).value
        elif name in PictureOptions.model_fields:
            pictures[name] = found
        else:
            fields[name] = found
    return fields | ({"pictures": pictures} if pictures else {})


def _value(column: str, name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if name in _FLAGS:
        word = text.lower()
        if word not in _TRUE | _FALSE:
            raise InvalidJob(f"{column}: {text[:40]!r} is neither yes nor no")
        return word in _TRUE
    if name in _JSON_FIELDS:
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidJob(f"{column}: not JSON: {error}") from None
    return _number(column, name, text)


def _number(column: str, name: str, text: str) -> object:
    kinds: dict[str, type[int | float]] = {"max_output_tokens": int, "temperature": float}
    if (kind := kinds.get(name)) is None:
        return text
    try:
        return kind(text.replace(",", "."))
    except ValueError:
        raise InvalidJob(f"{column}: {text[:40]!r} is no number") from None


def merged(fields: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job, those of `more` before others; options of pictures one by one."""
    pictures = [one["pictures"] for one in (fields, more) if one.get("pictures")]
    whole = {**fields, **more}
    if len(pictures) == 2 and all(isinstance(one, Mapping) for one in pictures):  # noqa: PLR2004  # both have some
        whole["pictures"] = {**pictures[0], **pictures[1]}
    return whole
