"""Fields of the provider's request that have their own job fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_FORM: Final = "it would change the form of the answer"
_PRICE: Final = "the price in advance would not hold"

#: Of both surfaces (openai 3.54, 2026).
_OWNED: Final = {
    "model": "use the field `model` of the job",
    "input": "use `prompt` and `images`",
    "messages": "use `prompt`, `instructions` and `images`",
    "instructions": "use the field `instructions` of the job",
    "text": "use `answer_schema`",
    "response_format": "use `answer_schema`",
    "max_output_tokens": "use the field `max_output_tokens` of the job",
    "max_completion_tokens": "use `max_output_tokens`",
    "max_tokens": "use `max_output_tokens`",
    "temperature": "use the field `temperature` of the job",
    "service_tier": "use the field `service_tier` of the job",
    "reasoning_effort": "use the field `effort` of the job",
    "prompt_cache_options": "use the fields `prompt_cache` and `prompt_cache_ttl` of the job",
    "store": "nothing is stored at the provider",
    "stream": _FORM,
    "stream_options": _FORM,
    "background": _FORM,
    "audio": _FORM,
    "modalities": _FORM,
    "tools": _FORM,
    "functions": _FORM,
    "n": _PRICE,
    "prompt": _PRICE,
    # Of a prediction the tokens that the model does not take up are billed beside the answer.
    "prediction": _PRICE,
    "conversation": _PRICE,
    "previous_response_id": _PRICE,
    "web_search_options": _PRICE,
}

#: `prompt_cache_options.mode` without breakpoints → `prompt_cache` of a job.
_CACHE_MODES: Final = {"explicit": "off", "implicit": "implicit"}


def refused_in_extra_body(extra: Mapping[str, Any]) -> str | None:
    """Return a field not allowed in `extra_body`, and why; None if all are."""
    for name in extra:
        if why := _OWNED.get(name):
            return f"{name!r} can't be set here: {why}"
    if "effort" in _reasoning(extra):
        return f"'reasoning.effort' can't be set here: {_OWNED['reasoning_effort']}"
    return None


def with_own_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Move fields of `extra_body` into the job fields that exist for them.

    So a question asked in the provider's words is the same question. What contradicts the job's own
    fields stays, and is refused there.
    """
    for move in (_move_effort, _move_prompt_cache):
        if isinstance(extra := fields.get("extra_body"), Mapping):
            fields = move(fields, extra)
    return fields


def _move_effort(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> Mapping[str, Any]:
    reasoning = dict(_reasoning(extra))
    given = {name: extra[name] for name in ("reasoning_effort",) if name in extra}
    if "effort" in reasoning:
        given["reasoning"] = reasoning.pop("effort")
    efforts = {str(one) for one in (fields.get("effort"), *given.values()) if one is not None}
    if not given or len(efforts) > 1 or not all(map(_is_effort, given.values())):
        return fields
    rest = {name: value for name, value in extra.items() if name not in given}
    if reasoning:
        rest["reasoning"] = reasoning
    return {**fields, "extra_body": rest, "effort": next(iter(efforts), None)}


def _move_prompt_cache(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> Mapping[str, Any]:
    options = extra.get("prompt_cache_options")
    if not isinstance(options, Mapping) or options.keys() - {"mode", "ttl"}:
        return fields
    mode = _CACHE_MODES.get(str(options.get("mode", "implicit")))
    moved = {"prompt_cache": mode, "prompt_cache_ttl": options.get("ttl")}
    if mode is None or any(fields.get(name) not in (None, value) for name, value in moved.items()):
        return fields
    rest = {name: value for name, value in extra.items() if name != "prompt_cache_options"}
    return {**fields, "extra_body": rest, **moved}


def _is_effort(value: object) -> bool:
    return value is None or isinstance(value, str)


def _reasoning(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    found = extra.get("reasoning")
    return found if isinstance(found, Mapping) else {}
