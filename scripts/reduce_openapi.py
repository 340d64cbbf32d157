"""Reduces OpenAI's OpenAPI document to the schemas by which the gateway's answers are checked.

    git clone https://github.com/openai/openai-openapi
    .venv/bin/python scripts/reduce_openapi.py openai-openapi/openapi.json

Writes tests/contract/openai/answers.json: the schemas below and those that they refer to, without
what no validation needs. `nullable`, a word of OpenAPI 3.0 that the document still uses, becomes
what it means.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TARGET: Final = Path(__file__).parents[1] / "tests/contract/openai/answers.json"
#: What the gateway answers with.
ANSWERS: Final = (
    "Batch",
    "CreateChatCompletionResponse",
    "CreateChatCompletionStreamResponse",
    "DeleteFileResponse",
    "ErrorResponse",
    "ListBatchesResponse",
    "ListFilesResponse",
    "ListModelsResponse",
    "Model",
    "OpenAIFile",
    "Response",
    "ResponseStreamEvent",
    "TokenCountsResource",
)
_PREFIX: Final = "#/components/schemas/"
_WORDS: Final = frozenset({"deprecated", "description", "example", "examples", "title"})


def reduced(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas that are needed, by name."""
    found: dict[str, Any] = {}
    open_names = list(ANSWERS)
    while open_names:
        name = open_names.pop()
        if name not in found:
            found[name] = _bare(schemas[name])
            open_names += _named_in(found[name])
    return dict(sorted(found.items()))


def _bare(schema: Any) -> Any:  # noqa: ANN401  # any part of a schema
    """Return a schema without what no validation needs."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        word: {name: _bare(one) for name, one in value.items()}
        if word == "properties"
        else _bare(value)
        for word, value in schema.items()
        if word not in _WORDS and word not in {"nullable", "discriminator"}
        if not word.startswith("x-")
    }
    return {"anyOf": [kept, {"type": "null"}]} if schema.get("nullable") else kept


def _named_in(schema: Any) -> Iterator[str]:  # noqa: ANN401  # likewise
    """Yield the names of the schemas that one refers to."""
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.removeprefix(_PREFIX)
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            yield from _named_in(one)


def _main(source: Path) -> None:
    document = json.loads(source.read_text("utf-8"))
    schemas = reduced(document["components"]["schemas"])
    # A line for each, so that a newer document can be compared with this one.
    lines = [f"{json.dumps(name)}:{json.dumps(one)}" for name, one in schemas.items()]
    TARGET.write_text('{"components":{"schemas":{\n' + ",\n".join(lines) + "\n}}}\n", "utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
