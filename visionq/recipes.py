"""Recipes: tried questions with their schema and options, which files of your own can replace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, field_validator

from visionq.answer_schemas import check_schema
from visionq.contract import JobDocument
from visionq.data import Facts, load, packaged
from visionq.errors import ConfigurationError, InvalidJob

_SUFFIX: Final = ".toml"
_FOLDER: Final = "recipes"
_OPTIONS: Final = JobDocument.model_fields.keys() - {"prompt", "images", "answer_schema"}

Language = Annotated[str, Field(pattern="^[a-z]{2}$")]
ByLanguage = Annotated[dict[Language, Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Recipe(Facts):
    """A question in one or several languages, with the fields of its jobs."""

    #: Goes up whenever the same picture could get another answer.
    version: int = Field(ge=1)
    summary: ByLanguage
    #: The first language is the default.
    prompt: ByLanguage
    #: Fields of a job, such as `detail` and `max_output_tokens`.
    options: dict[str, Any] = Field(default_factory=dict)
    answer_schema: dict[str, Any] | None = None

    @field_validator("options")
    @classmethod
    def _only_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if name not in _OPTIONS:
                raise ValueError(f"{name!r} is not an option")
        return options

    @field_validator("answer_schema")
    @classmethod
    def _usable_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            try:
                check_schema(schema)
            except InvalidJob as error:
                raise ValueError(error.message.removeprefix("answer_schema: ")) from None
        return schema

    def job_fields(self, language: str | None = None) -> dict[str, Any]:
        """Return the fields of a job that asks this: `client.submit(**fields, images=…)`.

        Raises:
            ConfigurationError: the recipe does not ask in this language.
        """
        chosen = language or next(iter(self.prompt))
        if chosen not in self.prompt:
            raise ConfigurationError(
                f"recipe: it does not ask in {chosen!r}; choose one of: {', '.join(self.prompt)}"
            )
        fields = {**self.options, "prompt": self.prompt[chosen].strip()}
        if self.answer_schema is not None:
            fields["answer_schema"] = self.answer_schema
        return fields


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that visionq brings."""
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in packaged(_FOLDER)))


def load_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or one of your own by its file, `….toml`.

    Raises:
        ConfigurationError: no recipe has this name, or the file has an error; the message names
            its line.
    """
    if name.endswith(_SUFFIX):
        return load(Recipe, name, Path(name))
    return load(Recipe, recipe_file(name), None)


def recipe_file(name: str) -> str:
    """Return where a recipe of visionq lies within `visionq/data`.

    Raises:
        ConfigurationError: no recipe has this name.
    """
    if name not in recipe_names():
        known = ", ".join(recipe_names())
        raise ConfigurationError(
            f"recipe: no {name!r}; choose one of: {known}; a file of your own ends in {_SUFFIX}"
        )
    return f"{_FOLDER}/{name}{_SUFFIX}"
