"""`visionq recipes`: list, show and copy ready-made questions."""

from __future__ import annotations

import locale
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from visionq.cli.screen import people_console
from visionq.cli.shared import FILE, errors_as_json, json_option, print_json
from visionq.errors import RecordFailed, RecordRefused
from visionq.recipes import load_recipe, recipe_file, recipe_names

if TYPE_CHECKING:
    from collections.abc import Mapping

_language = click.option("--lang", help="Its language, such as `ru`.  [default: its first]")


@click.group()
def recipes() -> None:
    """List, show and copy the tried questions that `--recipe NAME` asks."""


@recipes.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the recipes with what each answers."""
    with errors_as_json(as_json):
        found = {name: load_recipe(name) for name in recipe_names()}
    if as_json:
        print_json(
            {
                "recipes": [
                    {
                        "name": name,
                        "version": recipe.version,
                        "languages": list(recipe.prompt),
                        "summary": recipe.summary,
                    }
                    for name, recipe in found.items()
                ]
            }
        )
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("Recipe", "Version", "Languages", "Answers"):
        table.add_column(column, no_wrap=column != "Answers")
    for name, recipe in found.items():
        table.add_row(name, str(recipe.version), " ".join(recipe.prompt), _said(recipe.summary))
    people_console().print(table)


def _said(summary: Mapping[str, str]) -> str:
    """Return the summary in the language of this terminal, else in the first."""
    spoken = (locale.getlocale()[0] or "")[:2]
    return summary.get(spoken) or next(iter(summary.values()))


@recipes.command()
@click.argument("name")
@_language
@json_option
def show(*, name: str, lang: str | None, as_json: bool) -> None:
    """Show what a recipe asks: its file, or with --json the fields of a job.

    NAME: of `visionq recipes list`, or a file of your own.
    """
    with errors_as_json(as_json):
        recipe = load_recipe(name)
        fields = recipe.job_fields(lang)
        if as_json:
            print_json({"name": name, "version": recipe.version, "job": fields})
        elif lang is not None:
            click.echo(fields["prompt"])
        else:
            click.echo(_text(name), nl=False)


@recipes.command("copy")
@click.argument("name")
@click.argument("file", type=FILE)
@json_option
def copy_(*, name: str, file: Path, as_json: bool) -> None:
    """Copy a recipe to FILE.toml, to change it and to give it to --recipe."""
    with errors_as_json(as_json):
        load_recipe(name)
        if file.suffix != ".toml":
            raise RecordRefused(f"{file}: the file of a recipe ends in .toml")
        try:
            with file.open("x", encoding="utf-8") as copy:
                copy.write(_text(name))
        except FileExistsError:
            raise RecordRefused(f"{file}: it exists already; choose another name") from None
        except OSError as error:
            raise RecordFailed(f"{file}: can't be written: {error.strerror or error}") from None
        if as_json:
            print_json({"name": name, "file": str(file)})
            return
    click.echo(f"{file}: change it, then ask with --recipe {file}")


def _text(name: str) -> str:
    file = Path(name) if name.endswith(".toml") else files("visionq") / "data" / recipe_file(name)
    return file.read_text(encoding="utf-8")
