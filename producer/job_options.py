"""Fields of a job from command-line options, files and columns of manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from visionq.answer_schemas import check_schema
from visionq.cli.shared import FILE, Command, Parsed, with_options
from visionq.contract import (
    Animated,
    Api,
    Detail,
    JobDocument,
    Lane,
    PictureOptions,
    Policy,
    PromptCache,
    Reuse,
    UnknownBilling,
    UrlMode,
)
from visionq.contract.job import MOST_DISTANCE
from visionq.contract.pictures import ASKED_OF_MODEL, COMPUTED
from visionq.errors import InputFileNotFound, InvalidJob, InvalidSource
from visionq.needed_by import moment_needed
from visionq.recipes import load_recipe
from visionq.sdk.images import is_url, read_picture
from visionq.submission import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from enum import StrEnum
    from pathlib import Path

    from visionq.sdk import ImageInput
    from visionq.settings import Settings

#: The prompt that means stdin.
STDIN = "-"
NO_PROMPT: Final = (
    "give the question with -p PROMPT, --prompt-file FILE or --recipe NAME (`visionq recipes list`)"
)


def take_images(arguments: Iterable[str], most_bytes: int) -> list[ImageInput]:
    """Return addresses unchanged, and files as (name, bytes).

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
            "give a file, or an address with http://, https:// or data:", image=argument
        )
    return (argument, read_picture(argument, most_bytes))


def take_prompt(
    prompt: str | None, file: Path | None, stdin: BinaryIO, recipe: str | None = None
) -> str:
    """Return the prompt of the option, its file or stdin (`-`), else the recipe's.

    Raises:
        click.UsageError: none or both are given, or the text is empty.
    """
    if prompt is None and file is None and recipe is not None:
        return recipe
    if (prompt is None) == (file is None):
        raise click.UsageError(NO_PROMPT)
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
        click.BadParameter: it is not a schema, or not one that answers can be checked with.
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
    """Check options that are the same for every row; return a sample job with them.

    Raises:
        click.UsageError: a field is wrong; the message names it.
    """
    anything = {"prompt": "?", "images": [{"url": "https://example.com"}]}
    try:
        return prepare({**options, **anything}, settings)
    except InvalidJob as error:
        raise click.UsageError(error.message) from None


def read_text(file: Path, option: str) -> str:
    """Return a UTF-8 file without its byte order mark."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint=option) from None
    return _decode(content, str(file), option)


def _decode(content: bytes, source: str, option: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.BadParameter(f"{source}: not UTF-8 text", param_hint=option) from None


#: Fields that commands set themselves, or that are not options.
OWN_FIELDS: Final = frozenset(
    (
        *("schema_version", "prompt", "images", "pictures", "priority", "batch_id"),
        *("replay_of", "idempotency_key", "answer_format", "cascade"),
    )
)
#: Prefix of manifest columns that set fields of jobs.
COLUMN_PREFIX: Final = "visionq."
_FIRST_FRAME: Final = "first_frame"
_FALLBACK: Final = "fallback"
_JSON_FIELDS: Final = frozenset({"answer_schema", "extra_body", "metadata"})
_TRUE: Final = frozenset({"true", "1", "yes", "on", "да", "истина", "+"})
_FALSE: Final = frozenset({"false", "0", "no", "off", "нет", "ложь", "-"})
_PERMISSIONS: Final = ("convert", "shrink", "flatten", "unterminated", "crops")
_FLAGS: Final = frozenset({*_PERMISSIONS, _FIRST_FRAME, "repair", "together"})
_REQUIREMENTS: Final = click.Choice((*ASKED_OF_MODEL, *COMPUTED))
_POLICIES: Final = (Policy.REJECT, Policy.WARN, Policy.OFF)


def _choice(kind: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([one.value for one in kind])


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # as `Parsed` wants it
    return found


def _moment(text: str) -> datetime:
    """Return the moment; a time without a zone is this machine's."""
    now = datetime.now().astimezone()
    try:
        return moment_needed(text, now, now.tzinfo)
    except InvalidJob as error:
        raise ValueError(error.message.removeprefix("by: ")) from None


def _names(text: str) -> list[str]:
    """Return names with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]


_OBJECT: Final = Parsed("json", _object)
_NAMES: Final = Parsed("names", _names)
_MOMENT: Final = Parsed("time", _moment)
_OPTIONS: Final = (
    click.option(
        "--recipe",
        help="Tried question with its schema: a name of `visionq recipes list`, or FILE.toml.",
    ),
    click.option("--lang", help="Language of the recipe, such as `ru`.  [default: its first]"),
    click.option("--model", help="Model to ask.  [default: VISIONQ_DEFAULT_MODEL]"),
    click.option(
        "--fallback",
        type=_NAMES,
        help="Models to ask if that one is away, held, retired or refuses: `MODEL,MODEL`.",
    ),
    click.option("--api", type=_choice(Api), help="API to call."),
    click.option("--detail", type=_choice(Detail), help="How closely to look."),
    click.option(
        "--schema",
        type=FILE,
        help="JSON Schema that the answer must match.",
    ),
    click.option("--instructions", help="Instructions for the model, besides the question."),
    click.option("--max-output-tokens", type=click.IntRange(16), help="Longest answer."),
    click.option(
        "--effort",
        help="How long to think, such as `none` or `low`.  [default: the least the model takes]",
    ),
    click.option(
        "--prompt-cache",
        type=_choice(PromptCache),
        help="Part of the prompt to cache.  [default: long instructions of many jobs]",
    ),
    click.option("--prompt-cache-ttl", help="How long to cache it at least, such as `12h`."),
    click.option("--tenant", help="Tenant to charge.  [default: default]"),
    click.option("--first-frame", is_flag=True, help="Take the first frame of animated pictures."),
    click.option(
        "--convert", is_flag=True, help="Convert BMP, TIFF, AVIF, and HEIC with the extra `heic`."
    ),
    click.option("--shrink", is_flag=True, help="Take larger files, and shrink them first."),
    click.option("--flatten", is_flag=True, help="Put transparent pictures on white."),
    click.option(
        "--unterminated",
        is_flag=True,
        help="Take JPEG and GIF that lack only their end marker.",
    ),
    click.option(
        "--crops",
        is_flag=True,
        help="Cut long pictures into overlapping crops that the model can read.",
    ),
    click.option("--reject", type=_REQUIREMENTS, multiple=True, help="Fail such pictures."),
    click.option("--warn", type=_REQUIREMENTS, multiple=True, help="Warn about such pictures."),
    click.option("--off", type=_REQUIREMENTS, multiple=True, help="Skip this check."),
    click.option("--temperature", type=click.FloatRange(0, 2), help="How freely to answer."),
    click.option("--service-tier", help="The provider's service tier, such as `flex`."),
    click.option(
        "--reuse",
        type=_choice(Reuse),
        help="Use of a cached answer to the same question.  [default: use]",
    ),
    click.option(
        "--together",
        is_flag=True,
        help="Answer questions about the same picture by one call, which they share.",
    ),
    click.option(
        "--near",
        type=click.IntRange(0, MOST_DISTANCE),
        metavar="N",
        help="Take the answer of a picture whose perceptual hash is within N bits of 64.",
    ),
    click.option("--no-repair", is_flag=True, help="Do not repair invalid answers."),
    click.option("--url-mode", type=_choice(UrlMode), help="Who fetches pictures by address."),
    click.option(
        "--on-unknown-billing",
        type=_choice(UnknownBilling),
        help="What to do after a call that may have been billed.",
    ),
    click.option("--extra-body", type=_OBJECT, help="JSON object with more fields of the request."),
    click.option("--metadata", type=_OBJECT, help="JSON object to keep with the job."),
    click.option(
        "--deadline",
        type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
        help="Latest time for the call; without a zone, this machine's time.",
    ),
    click.option(
        "--by",
        type=_MOMENT,
        help="When the answers are needed, such as `09:00` or `6h`: what can wait costs half.",
    ),
    click.option(
        "--lane",
        type=_choice(Lane),
        help="`online`, or `batch` at half the price.  [default: auto, by --by]",
    ),
)


#: The options that `take_job_options` reads.
job_options = with_options(*_OPTIONS)


def prompt_options(said: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `--prompt`, with this help, and `--prompt-file`."""
    return with_options(
        click.option("-p", "--prompt", help=said),
        click.option("--prompt-file", type=FILE, help="The question as a UTF-8 file."),
    )


def take_question(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return prompt, its file, the schema's, the recipe's prompt and the fields of a job.

    Raises:
        click.UsageError, ConfigurationError: as `take_job_options`.
    """
    asked = {name: options[name] for name in ("prompt", "prompt_file", "schema")}
    fields = take_job_options({name: options[name] for name in options if name not in asked})
    recipe = fields.pop("prompt", None)
    return {**fields, **asked, "recipe": recipe}


def take_job_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a job that options set, over those of the recipe.

    Only a recipe sets `prompt`.

    Raises:
        click.UsageError: a requirement has two policies, or a language has no recipe.
        click.BadParameter: the file of the schema is not one.
        ConfigurationError: there is no such recipe, or its file has an error.
    """
    rest = dict(options)
    recipe, language = rest.pop("recipe"), rest.pop("lang")
    if recipe is None and language is not None:
        raise click.UsageError("--lang chooses the language of a recipe: give --recipe as well")
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
    if not fields["together"]:
        del fields["together"]
    fields |= {"pictures": pictures} if pictures else {}
    return fields if recipe is None else merged(load_recipe(recipe).job_fields(language), fields)


# Columns ------------------------------------------------------------------------------------------


def column_names() -> tuple[str, ...]:
    """Return the names of manifest columns that set fields of jobs."""
    fields = (name for name in JobDocument.model_fields if name not in OWN_FIELDS)
    names = (*fields, *PictureOptions.model_fields, _FIRST_FRAME)
    return tuple(f"{COLUMN_PREFIX}{name}" for name in names)


def check_job_columns(columns: Iterable[str], where: str) -> None:
    """Check that each column with the prefix names a field.

    Raises:
        InvalidSource: one does not; the message lists the fields.
    """
    known = column_names()
    for column in columns:
        if column.startswith(COLUMN_PREFIX) and column not in known:
            message = f"{where}: column {column!r} sets nothing; there are: {', '.join(known)}"
            raise InvalidSource(message)


def fields_of_columns(record: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields that a record's columns set; an empty cell sets none.

    Raises:
        InvalidJob: a cell has a wrong value.
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
    return _names(text) if name == _FALLBACK else _number(column, name, text)


def _number(column: str, name: str, text: str) -> object:
    kinds: dict[str, type[int | float]] = {
        "max_output_tokens": int,
        "near": int,
        "temperature": float,
    }
    if (kind := kinds.get(name)) is None:
        return text
    try:
        return kind(text.replace(",", "."))
    except ValueError:
        raise InvalidJob(f"{column}: {text[:40]!r} is not a number") from None


def merged(fields: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fields` overridden by `more`, with `pictures` merged field by field."""
    pictures = [one["pictures"] for one in (fields, more) if one.get("pictures")]
    whole = {**fields, **more}
    if len(pictures) == 2 and all(isinstance(one, Mapping) for one in pictures):  # noqa: PLR2004  # both
        whole["pictures"] = {**pictures[0], **pictures[1]}
    return whole
