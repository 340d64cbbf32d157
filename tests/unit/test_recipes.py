"""Recipes ask what they say, and a broken or unknown one is refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from producer.ask_command import ask
from producer.quote.quote_command import quote
from tests.unit.test_job_options import taken
from visionq.cli.recipes import recipes
from visionq.errors import ConfigurationError
from visionq.recipes import load_recipe, recipe_names
from visionq.settings import Settings
from visionq.submission import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGES = [{"url": "https://example.com/a.png"}]
OWN = """
version = 3
summary.en = "Colour of {item}"
prompt.en = "Which colour has the {item}?"
options.detail = "low"
options.pictures.blur = "reject"
"""


def objects(schema: object) -> Iterator[dict[str, Any]]:
    """Give each schema of an object within a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_is_a_job(name: str, language: str) -> None:
    """Every recipe makes a job in both languages, and its schema is strict as providers want it."""
    recipe = load_recipe(name)
    job = prepare({**recipe.job_fields(language), "images": IMAGES}, Settings())
    assert job.prompt == recipe.prompt[language].strip()
    assert "\n" not in job.prompt
    found = list(objects(recipe.answer_schema))
    assert found
    for schema in found:
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])


def test_russian_asks_for_russian() -> None:
    """The Russian question of a recipe is in Russian, and options of a job go before its own."""
    fields = taken("--recipe", "alt-text", "--lang", "ru", "--detail", "high")
    assert fields["prompt"].startswith("Напиши")
    assert (fields["detail"], fields["max_output_tokens"]) == ("high", 200)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """A recipe of one's own is a file; its options on pictures are merged with those given."""
    file = tmp_path / "own.toml"
    file.write_text(OWN, "utf-8")
    fields = taken("--recipe", str(file), "--reject", "tiny")
    assert fields["prompt"] == "Which colour has the {item}?"
    assert fields["pictures"] == {"blur": "reject", "tiny": "reject"}


def test_a_copy_is_the_recipe(tmp_path: Path) -> None:
    """A copied recipe asks the same, and copying never replaces a file."""
    file = tmp_path / "mine.toml"
    assert CliRunner().invoke(recipes, ["copy", "tags", str(file)]).exit_code == 0
    assert load_recipe(str(file)) == load_recipe("tags")
    file.write_text("mine", "utf-8")
    again = CliRunner().invoke(recipes, ["copy", "tags", str(file)])
    assert isinstance(again.exception, ConfigurationError)
    assert file.read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("version = 3", "version = 0"), "own.toml, line 2: version: must be at least 1"),
        (('prompt.en = "Which', 'prompt.english = "Which'), "prompt"),
        (("options.detail", "options.prompt"), "options: 'prompt' is not an option"),
        (("options.detail", "options.detial"), "options: 'detial' is not an option"),
        (("options.detail", "answer_schema.type"), "answer_schema: "),
        (("version", "versio"), "own.toml"),
    ],
)
def test_a_broken_file(change: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    """A file with an error is refused; the message names the file and the field."""
    file = tmp_path / "own.toml"
    file.write_text(OWN.replace(*change), "utf-8")
    with pytest.raises(ConfigurationError, match=r"own\.toml") as refused:
        load_recipe(str(file))
    assert complaint in refused.value.message


@pytest.mark.parametrize("command", [ask, quote])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--recipe", "nothing"), "recipe: no 'nothing'; choose one of: alt-text, archive"),
        (("--recipe", "tags", "--lang", "de"), "does not ask in 'de'; choose one of: en, ru"),
        (("--lang", "ru", "-p", "?"), "give --recipe as well"),
    ],
)
def test_what_is_no_recipe(
    command: Any, options: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    """A name that is no recipe, or a language that it lacks, is refused at once."""
    outcome = CliRunner().invoke(command, [str(tmp_path), *options])
    assert complaint in outcome.output + str(outcome.exception)
    assert outcome.exit_code != 0


def test_a_question_replaces_that_of_the_recipe(tmp_path: Path) -> None:
    """With `-p` as well, the recipe gives schema and options alone."""
    photo = tmp_path / "a.png"
    photo.write_bytes(b"no picture")
    outcome = CliRunner().invoke(quote, [str(tmp_path), "--recipe", "tags", "-p", "{nothing}"])
    assert "the prompt asks for {nothing}" in str(outcome.exception)
