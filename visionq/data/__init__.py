"""Dated tables of facts about providers, and how they are read.

An operator's own file can replace each `.toml` here. A file with an error is refused as a whole;
the message names file, line, row and field.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
)

from visionq.errors import ConfigurationError
from visionq.input_errors import wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Value = TypeVar("Value")
Table = TypeVar("Table", bound="Facts")

_VENDOR: Final = "openai/"
_DASH: Final = re.compile("-")
_SNAPSHOT: Final = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-\d{3}|-latest|-preview)+")


def bare_model(model: str) -> str:
    """Return the model's name as tables list it: without `openai/`; other vendors' are kept."""
    return model.removeprefix(_VENDOR)


def vendor_of(model: str) -> str | None:
    """Return the vendor prefix of a name (`google/`), or None."""
    vendor, slash, _ = model.partition("/")
    return vendor + slash if slash else None


#: The name of a model in a row.
Model = Annotated[str, StringConstraints(min_length=1), AfterValidator(bare_model)]
#: Where a row comes from.
Source = Annotated[str, StringConstraints(min_length=1)]


def _not_a_float(value: object) -> object:
    if isinstance(value, float):
        raise ValueError(f'write the number in quotes: "{value}"')  # noqa: TRY004  # pydantic's way
    return value


#: A decimal number; one with a fraction is written in quotes.
ExactNumber = Annotated[Decimal, BeforeValidator(_not_a_float)]


class Facts(BaseModel):
    """A frozen part of a data file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Dated(Facts):
    """A row with its source and date."""

    source: Source
    date: dt.date
    #: Whether the row was compared with the provider's own bill or list.
    confirmed: bool = False


def match_model(listed: Mapping[str, Value], model: str) -> Value | None:
    """Return what is listed for a model, or None.

    A name matches itself and its snapshots (`-2024-07-18`, `-20251001`, `-001`, `-latest`,
    `-preview`); the longest name wins. A variant (`gpt-4o-mini` of `gpt-4o`) is another model: it
    may cost ten times more.
    """
    name = bare_model(model)
    if name in listed:
        return listed[name]
    for dash in reversed([match.start() for match in _DASH.finditer(name)]):
        if name[:dash] in listed and _SNAPSHOT.fullmatch(name, dash):
            return listed[name[:dash]]
    return None


def refuse_twice(models: Iterable[str]) -> None:
    """Raise `ValueError` naming the first model that is listed more than once."""
    seen: set[str] = set()
    for model in models:
        if model in seen:
            raise ValueError(f"{model} is listed twice")
        seen.add(model)


def packaged(folder: str) -> tuple[str, ...]:
    """Return the names of the data files in a folder of this package."""
    return tuple(file.name for file in (resources.files(__name__) / folder).iterdir())


def load(table: type[Table], default: str, path: Path | None) -> Table:
    """Read a data file: the operator's, or the `default` one of this package.

    Raises:
        ConfigurationError: the file is unreadable, no TOML, or has a wrong row; the message
            names file, line (if known), row and field.
    """
    file = path if path is not None else resources.files(__name__) / default
    name = str(path) if path is not None else default
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: not a text in UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{name}: can't be read: {error.strerror}") from None
    try:
        fields = tomllib.loads(text)
        return table.model_validate(fields)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{name}{_describe(error, fields, text)}") from None


def _describe(error: ValidationError, fields: dict[str, Any], text: str) -> str:
    """Say `, line 7: family 2 (gpt-4o): base_tokens: what is wrong`, of the first error."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = _place(first["loc"], fields)
    line = _line(place[:-1] if first["type"] == "missing" else place, text)
    words = [f", line {line}" if line else ""]
    match place:
        case [str(table), int(index), *place]:
            row = fields[table][index]
            label = row.get("name", row.get("model")) if isinstance(row, dict) else None
            words.append(f"{table} {index + 1}" + (f" ({label})" if label else ""))
    if place:
        words.append(".".join(map(str, place)))
    words.append(wording(first))
    return ": ".join(words)


def _place(location: Sequence[Any], fields: dict[str, Any]) -> list[str | int]:
    """Return the error's place as the file spells it: without pydantic's union tags."""
    place: list[str | int] = []
    node: Any = fields
    for part in location[:-1]:
        if isinstance(node, dict) and part not in node:
            continue
        node = node[part]
        place.append(part)
    return [*place, *location[-1:]]


def _line(place: Sequence[str | int], text: str) -> int | None:
    """Return the line of a table, its n-th row, or a field of that."""
    match place:
        case [str(table), int(index), *rest]:
            wanted = [(table, index), *((str(part), 0) for part in rest[:1])]
        case _:
            wanted = [(str(part), 0) for part in place[:2]]
    lines = list(enumerate(text.splitlines(), 1))
    found = None
    for key, occurrence in wanted:
        begins = re.compile(rf"\s*(\[\[?\s*)?(\w+\.)?{re.escape(key)}\s*[\]=]")
        starts = [number for number, line in lines if begins.match(line)]
        if occurrence >= len(starts):
            break
        found = starts[occurrence]
        lines = [(number, line) for number, line in lines if number > found]
    return found
