"""Prompts with `{placeholders}`, and the fields of a row's job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from producer.job_options import NO_PROMPT, merged
from visionq.errors import InvalidJob, InvalidSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.sources import Row, Source

#: `{name}`, or `{{name}}` for the literal `{name}`. JSON in a prompt is not a placeholder: a quote,
#: a blank or a line end follows its brace.
_PLACEHOLDER: Final = re.compile(
    r"\{\{(?P<literal>[^\W\d][^{}\n]*)\}\}|\{(?P<name>[^\W\d][^{}\n\"':,]*)\}"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question with placeholders."""

    text: str

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders, each once, in order."""
        found = (match["name"] for match in _PLACEHOLDER.finditer(self.text))
        return tuple(dict.fromkeys(name for name in found if name))

    def fill(self, variables: Mapping[str, str]) -> str:
        """Return the question of a row.

        Raises:
            InvalidJob: the row lacks a variable.
        """

        def value(match: re.Match[str]) -> str:
            if match["literal"] is not None:
                return f"{{{match['literal']}}}"
            if match["name"] not in variables:
                raise InvalidJob(f"prompt: the row has no {match['name']!r}")
            return variables[match["name"]]

        return _PLACEHOLDER.sub(value, self.text)


def prompt_for(source: Source, text: str | None) -> Prompt | None:
    """Return the prompt for a source, or None if its rows bring their own.

    Raises:
        click.UsageError: there is no prompt, or one too many.
        InvalidSource: a placeholder is not a column; the message lists the columns.
    """
    if source.asks_itself:
        if text is not None:
            raise click.UsageError(f"{source.description}: its lines bring their own prompts")
        return None
    if text is None:
        raise click.UsageError(NO_PROMPT)
    prompt = Prompt(text)
    unknown = [name for name in prompt.names if name not in source.columns]
    if unknown:
        raise InvalidSource(
            f"the prompt asks for {{{unknown[0]}}}, which {source.description} does not have;"
            f" it has: {', '.join(source.columns) or 'nothing to fill in'}."
            f" To write braces, double them: {{{{{unknown[0]}}}}}"
        )
    return prompt


def job_fields(row: Row, prompt: Prompt | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the row's job, with its pictures by name.

    Fields that the row sets override `options`.

    Raises:
        InvalidJob: a placeholder can't be filled, or there is no prompt.
    """
    fields = merged(options, row.overrides) | {"images": list(row.images)}
    if "prompt" not in fields and prompt is not None:
        fields["prompt"] = prompt.fill(row.variables)
    if not str(fields.get("prompt") or "").strip():
        raise InvalidJob("prompt: it is empty")
    return fields
