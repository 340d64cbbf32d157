"""Options that a model refuses: efforts, temperatures, schemas and prompt caches.

Written against the data files alone, like the catalogue: the worker's own reading of them is
checked by this one. Of a model that they do not know nothing is refused.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from visionq.devstack.simulator.cache import LIFETIMES
from visionq.devstack.simulator.model_catalogue import OPENAI, SNAPSHOT
from visionq.devstack.simulator.question import CHAT_COMPLETIONS, RESPONSES
from visionq.devstack.simulator.refusals import (
    SimulatedRefusal,
    by_openai,
    missing,
    wrong_type,
    wrong_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visionq.devstack.simulator.question import ModelRequest

#: The one temperature that models take while they reason.
ORDINARY: Final = 1


def check_options(question: ModelRequest) -> None:
    """Raise the provider's refusal of the first unsupported field."""
    row = _row("options.toml", "model", question.model)
    effort = _effort(question)
    if row is not None:
        _check_effort(question, effort, row)
        _check_temperature(question, effort or row.get("default_effort"), row)
        if question.answer_format.kind != "text" and not row.get("structured_outputs", True):
            raise _unsupported("text.format" if question.api == RESPONSES else "response_format")
    _check_cache(question, is_known=row is not None)


def _effort(question: ModelRequest) -> str | None:
    body, name = question.body, "reasoning_effort"
    value = body.get(name)
    if question.api == RESPONSES:
        reasoning, name = body.get("reasoning"), "reasoning.effort"
        if reasoning is not None and not isinstance(reasoning, Mapping):
            raise wrong_type("reasoning", "an object", reasoning)
        value = (reasoning or {}).get("effort")
    if value is not None and not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def _check_effort(question: ModelRequest, effort: str | None, row: Mapping[str, Any]) -> None:
    name = "reasoning.effort" if question.api == RESPONSES else "reasoning_effort"
    if effort is None or effort in row["efforts"]:
        return
    if not row["efforts"]:
        raise _unsupported(name)
    *most, last = (f"'{each}'" for each in row["efforts"])
    raise by_openai(
        f"Unsupported value: '{effort}' is not supported with the '{question.model}' model."
        f" Supported values are: {', '.join(most)}, and {last}.",
        param=name,
        code="unsupported_value",
    )


def _check_temperature(question: ModelRequest, effort: str | None, row: Mapping[str, Any]) -> None:
    value = question.body.get("temperature")
    is_free = row["temperature"] == "always" or (
        row["temperature"] == "without_reasoning" and effort == "none"
    )
    if value not in (None, ORDINARY) and not is_free:
        raise by_openai(
            f"Unsupported value: 'temperature' does not support {value} with this model. Only the"
            f" default ({ORDINARY}) value is supported.",
            param="temperature",
            code="unsupported_value",
        )


def _check_cache(question: ModelRequest, *, is_known: bool) -> None:
    terms = _row("caching.toml", "caching", question.model)
    options = question.body.get("prompt_cache_options")
    breakpoints = dict(_breakpoints(question))
    if terms is None and is_known and options is not None:
        raise _unsupported("prompt_cache_options")
    if terms is None and is_known and breakpoints:
        raise _unsupported(next(iter(breakpoints)))
    lifetimes = _lifetimes(question, terms)
    if options is not None and options.get("ttl") not in (None, *lifetimes):
        raise wrong_value("prompt_cache_options.ttl", options["ttl"], lifetimes)
    for path, value in breakpoints.items():
        _check_breakpoint(value, path, lifetimes)


def _check_breakpoint(value: object, path: str, lifetimes: tuple[str, ...]) -> None:
    if not isinstance(value, Mapping):
        raise wrong_type(path, "an object", value)
    if "mode" not in value:
        raise missing(f"{path}.mode")
    for name, known in (("mode", ("explicit",)), ("ttl", (None, *lifetimes))):
        if value.get(name) not in known:
            raise wrong_value(f"{path}.{name}", value[name], tuple(filter(None, known)))


def _lifetimes(question: ModelRequest, terms: Mapping[str, Any] | None) -> tuple[str, ...]:
    if terms is None:
        return tuple(LIFETIMES)
    name = "chat_lifetimes" if question.api == CHAT_COMPLETIONS else "lifetimes"
    return tuple(terms.get(name, terms["lifetimes"]))


def _breakpoints(question: ModelRequest) -> Iterator[tuple[str, Any]]:
    """Return path → value of each; messages are known to be well formed."""
    name = "input" if question.api == RESPONSES else "messages"
    messages = question.body.get(name)
    for position, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message["content"]
        for index, part in enumerate(content if isinstance(content, list) else ()):
            if part.get("prompt_cache_breakpoint") is not None:
                path = f"{name}[{position}].content[{index}].prompt_cache_breakpoint"
                yield path, part["prompt_cache_breakpoint"]


def _unsupported(name: str) -> SimulatedRefusal:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return by_openai(message, param=name, code="unsupported_parameter")


def _row(file: str, table: str, model: str) -> Mapping[str, Any] | None:
    name, rows = model.removeprefix(OPENAI), _rows(file, table)
    return rows.get(name) or rows.get(SNAPSHOT.sub("", name))


@functools.cache
def _rows(file: str, table: str) -> dict[str, Mapping[str, Any]]:
    text = (resources.files("visionq") / "data" / file).read_text("utf-8")
    return {model: row for row in tomllib.loads(text)[table] for model in row["models"]}
