"""Several questions about the same pictures as one: prompt, schema, and the answer taken apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from visionq.contract.job import MOST_OUTPUT_TOKENS
from worker.provider.answer import ProviderAnswer
from worker.provider.schema import Mismatch, parse_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from visionq.contract import JobDocument

_FRAME: Final = (
    "Answer each of these questions by itself, exactly as if it were the only one. Reply with a"
    " JSON object that has one field for each question, by its name."
)
_DEFINITIONS: Final = ("$defs", "definitions")


def name_of(place: int) -> str:
    """Return the field of a question, counted from 0."""
    return f"q{place + 1}"


def framed(prompt: str, place: int) -> str:
    """Return a question alone in the frame; no combination costs more."""
    return f"{_FRAME}\n\n{name_of(place)}:\n{prompt}"


def combined(jobs: Sequence[JobDocument]) -> JobDocument:
    """Return the first job with the questions of all; they differ in nothing else."""
    questions = (f"{name_of(place)}:\n{job.prompt}" for place, job in enumerate(jobs))
    limit = sum(job.max_output_tokens or 0 for job in jobs)
    return jobs[0].model_copy(
        update={
            "prompt": "\n\n".join((_FRAME, *questions)),
            "answer_schema": _combined_schema([job.answer_schema for job in jobs]),
            "max_output_tokens": min(limit, MOST_OUTPUT_TOKENS),
        }
    )


def _combined_schema(schemas: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    properties, definitions = {}, {}
    for place, schema in enumerate(schemas):
        name = name_of(place)
        if schema is None:
            properties[name] = {"type": "string"}
            continue
        root = {
            key: value for key, value in schema.items() if key not in {*_DEFINITIONS, "$schema"}
        }
        properties[name] = {"$ref": f"#/$defs/{name}"}
        definitions[name] = _moved(root, name)
        for keyword in _DEFINITIONS:
            for key, value in schema.get(keyword, {}).items():
                definitions[f"{name}_{key}"] = _moved(value, name)
    whole: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return whole | ({"$defs": definitions} if definitions else {})


def _moved(node: Any, name: str) -> Any:  # noqa: ANN401  # any JSON value
    """Point references of a schema to its new place."""
    if isinstance(node, list):
        return [_moved(child, name) for child in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(child, name) for key, child in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        for keyword in _DEFINITIONS:
            if reference.startswith(f"#/{keyword}/"):
                return moved | {"$ref": f"#/$defs/{name}_{reference[len(keyword) + 3 :]}"}
        moved["$ref"] = f"#/$defs/{name}{reference[1:]}"
    return moved


def parts_of(
    answer: ProviderAnswer, jobs: Sequence[JobDocument]
) -> tuple[ProviderAnswer | None, ...]:
    """Return each question's own answer, not yet paid for; None: it has none."""
    try:
        whole = parse_answer(answer.text, {"type": "object"})
    except Mismatch:
        return (None,) * len(jobs)
    return tuple(_part(answer, whole.get(name_of(place)), job) for place, job in enumerate(jobs))


def _part(answer: ProviderAnswer, part: Any, job: JobDocument) -> ProviderAnswer | None:  # noqa: ANN401  # any JSON value
    told: dict[str, Any] = {"request_id": answer.request_id, "finish": answer.finish}
    if job.answer_schema is None:
        is_text = isinstance(part, str) and part.strip()
        return ProviderAnswer(text=part, **told) if is_text else None
    if part is None:
        return None
    text = json.dumps(part, ensure_ascii=False)
    try:
        return ProviderAnswer(text=text, data=parse_answer(text, job.answer_schema), **told)
    except Mismatch as error:
        told |= {"validation_error": str(error), "is_repairable": error.is_repairable}
        return ProviderAnswer(text=text, **told)


def shares(amount: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Divide an amount in proportion to the weights; the shares add up to it."""
    if not any(weights):
        weights = [1] * len(weights)
    total, before, found = sum(weights), 0, []
    for end in _sums(weights):
        upto = amount * end // total
        found.append(upto - before)
        before = upto
    return tuple(found)


def _sums(weights: Sequence[int]) -> Iterator[int]:
    total = 0
    for weight in weights:
        total += weight
        yield total
