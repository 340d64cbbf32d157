"""The answer in the form that its client asked for: text, an object, or a function's call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from visionq.answer_schemas import ANY_OBJECT

if TYPE_CHECKING:
    from pydantic import JsonValue

    from visionq.contract import AnswerFormat, JobDocument, ResultDocument


def answer_text(result: ResultDocument, document: JobDocument) -> str:
    """Return what a client reads: of an object that which was held against its schema.

    The text of the model may stand in a fence, or hold nulls that only the strict form wants.
    """
    if document.answer_schema is None:
        return result.text
    return json.dumps(result.data, ensure_ascii=False)


def function_of(document: JobDocument) -> AnswerFormat | None:
    """Return the function of which the answer is a call, where one was asked for."""
    asked = document.answer_format
    return asked if asked is not None and asked.type == "function" else None


def call_id(job_id: str) -> str:
    """Return the id by which clients name the call."""
    return f"call_{_bare(job_id)}"


def call_item(job_id: str, function: AnswerFormat, arguments: str, status: str) -> dict[str, Any]:
    """Return the call as an item of a response."""
    return {
        "id": f"fc_{_bare(job_id)}",
        "type": "function_call",
        "call_id": call_id(job_id),
        "name": function.name,
        "arguments": arguments,
        "status": status,
    }


def text_options(document: JobDocument) -> dict[str, JsonValue]:
    """Return the form of the answer's text as the response repeats it."""
    options: dict[str, JsonValue] = {"format": _format(document)}
    if "verbosity" in document.extra_body:
        options["verbosity"] = document.extra_body["verbosity"]
    return options


def tool_options(document: JobDocument) -> dict[str, Any]:
    """Return the tools as the response repeats them."""
    function = function_of(document)
    if function is None:
        return {}
    choice: Any = function.tool_choice
    if choice == "function":
        choice = {"type": "function", "name": function.name}
    tool = {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": document.answer_schema,
        "strict": function.strict,
    }
    return {"tools": [tool], "tool_choice": choice}


def _format(document: JobDocument) -> dict[str, JsonValue]:
    asked, schema = document.answer_format, document.answer_schema
    if schema is None or function_of(document):
        return {"type": "text"}
    if asked is None:
        if schema == ANY_OBJECT:
            return {"type": "json_object"}
        return {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    told = asked.model_dump(include={"name", "description", "strict"}, exclude_none=True)
    return {"type": "json_schema", "schema": schema, **told}


def _bare(job_id: str) -> str:
    return job_id.removeprefix("resp_").removeprefix("chatcmpl-")
