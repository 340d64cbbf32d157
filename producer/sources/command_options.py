"""The options by which commands say what a source is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from producer.sources.source import KINDS, SourceOptions

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any]")

_OPTIONS = (
    click.option(
        "--format", "kind", type=click.Choice(KINDS), default="auto", help="What SOURCE holds."
    ),
    click.option(
        "--image-column",
        "image_columns",
        multiple=True,
        help="Column with pictures; give it again for more.  [default: by its name]",
    ),
    click.option("--id-column", help="Column with ids.  [default: by its name]"),
    click.option("--encoding", help="Encoding of SOURCE.  [default: UTF-8, else CP1251]"),
    click.option("--group", is_flag=True, help="Make one row of rows with the same id."),
    click.option("--delimiter", help="What separates cells of a CSV.  [default: found out]"),
)


def source_options(command: Command) -> Command:
    """Give a command the options that `take_source_options` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_source_options(options: dict[str, Any]) -> SourceOptions:
    """Take them out of a command's parameters."""
    names = SourceOptions.__dataclass_fields__
    chosen = {name: options.pop(name) for name in names if name in options}
    delimiter = chosen.get("delimiter")
    if delimiter is not None:
        chosen["delimiter"] = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
        if len(chosen["delimiter"]) != 1:
            raise click.BadParameter("one character, or `tab`", param_hint="--delimiter")
    return SourceOptions(**chosen)
