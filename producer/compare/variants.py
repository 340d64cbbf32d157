"""The variants of a question: what each of them asks otherwise."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from producer.job_options import (
    COLUMN_PREFIX,
    column_names,
    fields_of_columns,
    merged,
    read_text,
    take_schema,
)
from producer.run.plan import make_question
from visionq.errors import ConfigurationError, InvalidJob
from visionq.recipes import load_recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from producer.run.plan import Question
    from producer.sources import Row, Source
    from visionq.settings import Settings

#: More than these make a table that nobody reads.
MOST_VARIANTS: Final = 12
#: What a variant may set besides the fields of a job.
_FILES: Final = ("prompt_file", "schema")
_RECIPE, _LANGUAGE = "recipe", "lang"
_NAME: Final = "name"
#: Names that the contract has others for.
_CONTRACT: Final = {"prompt_file": "prompt", "schema": "answer_schema"}
#: A comma that ends a value: a name and `=` follow.
_COMMA: Final = re.compile(r",\s*(?=[a-z_]+\s*=)")
_LONGEST_SHOWN: Final = 60
#: Options that change when it is asked, and at which price, not what. `1h` is another moment
#: each time that the same command is given.
_WHEN: Final = frozenset({"by", "lane", "deadline"})


@dataclass(frozen=True)
class Variant:
    """One way to ask the question."""

    #: `A`, `B`, … in the order of the command line.
    letter: str
    question: Question
    #: What it was given, for people.
    name: str
    #: The fields of a job that it sets, in spite of rows that set them too.
    fields: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """Identity of all that it asks, by which its answers are found again."""
        text = self.question.prompt.text if self.question.prompt else self.question.source
        options = {k: value for k, value in self.question.options.items() if k not in _WHEN}
        shape = json.dumps([text, options], sort_keys=True, default=str)
        return hashlib.sha256(shape.encode("utf-8", "backslashreplace")).hexdigest()[:12]

    def rows(self, rows: Iterable[Row]) -> list[Row]:
        """Return rows without the fields that this variant sets itself."""
        return [
            replace(
                row,
                overrides={k: value for k, value in row.overrides.items() if k not in self.fields},
            )
            for row in rows
        ]

    @property
    def model(self) -> str:
        """The model that it asks."""
        return str(self.question.options["model"])

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of its answers."""
        return self.question.options.get("answer_schema")


def read_variant(text: str) -> dict[str, Any]:
    """Return the fields of `NAME=VALUE,…`, or of a TOML file, `@FILE`.

    Raises:
        ValueError: it names nothing, or what no variant can set.
    """
    given = _of_file(Path(text[1:])) if text.startswith("@") else _of_text(text)
    if not set(given) - {_NAME}:
        raise ValueError(f"{text!r} sets nothing: give NAME=VALUE, such as model=gpt-6-luna")
    known = {
        *("prompt", *_FILES, _RECIPE, _LANGUAGE, _NAME),
        *(name.removeprefix(COLUMN_PREFIX) for name in column_names()),
    }
    for name in given:
        if name not in known:
            raise ValueError(
                f"{text!r}: there is no {name!r}; there are: {', '.join(sorted(known))}"
            )
    return given


def _of_text(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in _COMMA.split(text) if text.strip() else ():
        name, is_set, value = part.partition("=")
        if not is_set or not name.strip():
            raise ValueError(f"{part.strip()!r}: give NAME=VALUE, such as model=gpt-6-luna")
        if name.strip() in found:
            raise ValueError(f"{text!r} sets {name.strip()!r} twice")
        found[name.strip()] = value.strip()
    return found


def _of_file(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ValueError(f"{path}: not TOML: {error}") from None
    for name in _FILES:
        if isinstance(file := found.get(name), str):
            found[name] = str(path.parent / file)
    return found


def make_variants(
    given: Sequence[Mapping[str, Any]],
    *,
    base: Mapping[str, Any],
    source: Source,
    settings: Settings,
    stdin: BinaryIO,
) -> tuple[Variant, ...]:
    """Return the variants: each is what the command asks, with its own fields instead.

    Raises:
        click.UsageError: a field is wrong, there are too many variants, or two ask the same.
        InvalidSource: the source lacks a column of a prompt.
    """
    if len(given) > MOST_VARIANTS:
        raise click.UsageError(f"{len(given)} variants: compare at most {MOST_VARIANTS} at a time")
    made: list[Variant] = []
    for letter, fields in zip(ascii_uppercase, given, strict=False):
        try:
            question = make_question(source, _asked(fields, base), settings, stdin)
        except (click.UsageError, InvalidJob, ConfigurationError) as error:
            said = error.format_message() if isinstance(error, click.UsageError) else error.message
            raise click.UsageError(f"variant {letter}: {said}") from None
        one = Variant(letter, question, _named(fields), _set_by(fields))
        same = next((known for known in made if known.digest == one.digest), None)
        if same is not None:
            raise click.UsageError(
                f"variants {same.letter} and {letter} ask the same: leave one out"
            )
        made.append(one)
    return tuple(made)


def _asked(fields: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a variant; raise `InvalidJob` for a value that is none."""
    own = {name: value for name, value in fields.items() if name != _NAME}
    rest = dict(base)
    if (recipe := own.pop(_RECIPE, None)) is not None:
        rest |= {"prompt_file": None, "schema": None}
        rest = merged(rest, load_recipe(str(recipe)).job_fields(own.pop(_LANGUAGE, None)))
    if "prompt" in own or "prompt_file" in own:
        rest |= {
            "prompt": own.pop("prompt", None),
            "prompt_file": _path(own.pop("prompt_file", None)),
        }
    if "schema" in own or "answer_schema" in own:
        schema = own.pop("schema", None)
        is_read = schema is None or isinstance(schema, dict)
        rest |= {"schema": None, "answer_schema": schema if is_read else take_schema(Path(schema))}
    try:
        of_job = fields_of_columns({f"{COLUMN_PREFIX}{name}": own[name] for name in own})
    except InvalidJob as error:
        raise InvalidJob(error.message.removeprefix(COLUMN_PREFIX)) from None
    return merged(rest, of_job)


def _set_by(fields: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields of a job that a variant sets, by the contract's names."""
    names = set(fields)
    if _RECIPE in names:
        names |= set(load_recipe(str(fields[_RECIPE])).job_fields(fields.get(_LANGUAGE)))
    return frozenset(_CONTRACT.get(name, name) for name in names)


def _path(file: object) -> Path | None:
    if file is None:
        return None
    path = Path(str(file))
    read_text(path, "prompt_file")  # names the file where it can't be read
    return path


def _named(fields: Mapping[str, Any]) -> str:
    if _NAME in fields:
        return str(fields[_NAME])
    shown = [
        str(value) if isinstance(value, str) else json.dumps(value, default=str)
        for value in fields.values()
    ]
    text = ", ".join(" ".join(one.split()) for one in shown)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
