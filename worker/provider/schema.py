"""Check an answer against its JSON Schema."""

from __future__ import annotations

import json
from typing import Any, Final

from visionq.answer_schemas import brief

_FENCE: Final = "```"


class Mismatch(ValueError):
    """The answer is no JSON, or not of the form asked for; the text says where."""

    #: Whether another answer might be of the form: not where the schema itself can't be applied.
    is_repairable = True


class _NotApplicable(Mismatch):
    is_repairable = False


def parse_answer(text: str, schema: dict[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    """Return the answer as plain values; raises `Mismatch` where the schema does not admit it.

    In the strict form every property is required, and null stands for one that may be left out:
    such a null is left out of what is returned.
    """
    from worker.provider.validation import (  # noqa: PLC0415  # jsonschema is slow to import
        ExhaustedError,
        allowance,
        validator_of,
        without_absent,
    )

    data = _plain_json(text)
    try:
        with allowance():
            validator = validator_of(schema)
            if not validator.is_valid(data):
                data = without_absent(data, schema, validator)
            error = next(validator.iter_errors(data), None)
    except ExhaustedError:
        raise _NotApplicable("validating the answer takes too long") from None
    except Exception as failure:  # a schema may break its validator
        why = type(failure).__name__
        raise _NotApplicable(f"the schema can't be applied: {why}") from failure
    if error is not None:
        raise Mismatch(f"{error.json_path}: {brief(error.message)}")
    return data


def _plain_json(text: str) -> Any:  # noqa: ANN401  # any JSON value
    try:
        data = json.loads(_unfenced(text), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Mismatch(f"not JSON: {brief(str(error))}") from None
    # An escape can hold half a surrogate pair, which no JSON document can hold.
    written = json.dumps(data, ensure_ascii=False)
    clean = written.encode("utf-8", "replace").decode()
    return data if clean == written else json.loads(clean)


def _unfenced(text: str) -> str:
    """Return the JSON inside a Markdown fence, which models like to add."""
    inner = text.strip()
    if not (inner.startswith(_FENCE) and inner.endswith(_FENCE)):
        return text
    opening, newline, rest = inner[len(_FENCE) : -len(_FENCE)].partition("\n")
    return rest if newline and opening.strip() in {"", "json"} else text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
