"""From a request to the OpenAI API, of either surface, to the fields of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from visionq.contract import Api
from visionq.contract.owned import owned_field
from visionq.errors import InvalidJob

#: Last part of the address → surface.
_SURFACES: Final = {"responses": Api.RESPONSES, "chat/completions": Api.CHAT_COMPLETIONS}
#: Fields that ask for nothing which the answer would show.
_OF_NO_EFFECT: Final = frozenset(
    {"metadata", "prompt_cache_key", "safety_identifier", "store", "user"}
)
#: Fields that are taken where they say what holds anyway.
_DEFAULTS: Final[dict[str, tuple[object, ...]]] = {
    "background": (False,),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "stream": (False,),
    "tool_choice": ("auto", "none"),
    "tools": ([],),
    "truncation": ("disabled",),
}
_LIMITS: Final = ("max_output_tokens", "max_completion_tokens", "max_tokens")
_TEXT_PARTS: Final = frozenset({"text", "input_text"})
_IMAGE_PARTS: Final = frozenset({"image_url", "input_image"})


@dataclass
class _Question:
    """What the messages say, collected."""

    texts: list[str] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    details: set[str] = field(default_factory=set)


def read_request(address: str, body: object) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the pictures of a request, in order, and the other fields of the job it asks for.

    Raises:
        InvalidJob: it asks for something that a job has no word for; the message names the field.
    """
    surface = address.partition("/v1/")[2].strip("/") or address.strip("/")
    if surface not in _SURFACES:
        raise InvalidJob(f"url: {address!r} is none of {', '.join(map(repr, _SURFACES))}")
    if not isinstance(body, Mapping):
        raise InvalidJob("body: not a JSON object")
    api = _SURFACES[surface]
    rest = {name: value for name, value in body.items() if value is not None}
    question = _Question()
    if (instructions := rest.pop("instructions", None)) is not None:
        question.instructions.append(_text("body.instructions", instructions))
    _read_messages(question, rest.pop("input" if api is Api.RESPONSES else "messages", None))
    fields: dict[str, Any] = {"api": api.value, "prompt": "\n\n".join(question.texts)}
    if question.instructions:
        fields["instructions"] = "\n\n".join(question.instructions)
    if question.details:
        fields["detail"] = _one_detail(question.details)
    fields |= _schema(api, rest) | _options(rest)
    _complain(question, fields)
    return tuple(question.images), fields


def _complain(question: _Question, fields: Mapping[str, Any]) -> None:
    if not question.images:
        raise InvalidJob("body: it has no picture")
    if not fields["prompt"].strip():
        raise InvalidJob("body: it has no text")


def _read_messages(question: _Question, messages: object) -> None:
    if isinstance(messages, str):
        question.texts.append(messages)
        return
    if not isinstance(messages, list):
        raise InvalidJob("body: it has no messages")
    for place, message in enumerate(messages):
        where = f"body message {place + 1}"
        if not isinstance(message, Mapping):
            raise InvalidJob(f"{where}: not an object")
        role = message.get("role")
        if role in {"system", "developer"}:
            _read_content(question.instructions, None, message.get("content"), where)
        elif role == "user":
            _read_content(question.texts, question, message.get("content"), where)
        else:
            raise InvalidJob(f"{where}: role {role!r}; a job has no earlier turns")


def _read_content(
    texts: list[str], question: _Question | None, content: object, where: str
) -> None:
    if isinstance(content, str):
        texts.append(content)
        return
    for part in content if isinstance(content, list) else []:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXT_PARTS:
            texts.append(_text(where, part.get("text")))
        elif kind in _IMAGE_PARTS and question is not None:
            _read_image(question, part, where)
        else:
            raise InvalidJob(f"{where}: a part of type {kind!r} has no place there")


def _read_image(question: _Question, part: Mapping[str, Any], where: str) -> None:
    source = part.get("image_url")
    # Chat Completions wraps address and detail in an object of their own.
    inner: Mapping[str, Any] = source if isinstance(source, Mapping) else part
    url = inner.get("url") if isinstance(source, Mapping) else source
    if not isinstance(url, str) or not url:
        raise InvalidJob(f"{where}: a picture is given as image_url; file ids are not known here")
    question.images.append(url)
    if (detail := inner.get("detail")) is not None:
        question.details.add(_text(where, detail))


def _one_detail(details: set[str]) -> str:
    if len(details) > 1:
        raise InvalidJob(f"body: pictures of one job have one detail, not {sorted(details)}")
    return next(iter(details))


def _schema(api: Api, rest: dict[str, Any]) -> dict[str, Any]:
    """Take the form of the answer out of `rest`."""
    if api is Api.RESPONSES:
        text = rest.pop("text", {})
        form = text.get("format") if isinstance(text, Mapping) else None
        described = form
    else:
        form = rest.pop("response_format", None)
        described = form.get("json_schema") if isinstance(form, Mapping) else None
    if form is None or (isinstance(form, Mapping) and form.get("type") == "text"):
        return {}
    if not isinstance(form, Mapping) or form.get("type") != "json_schema":
        raise InvalidJob("body: the form of the answer is text, or json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if not isinstance(schema, Mapping):
        raise InvalidJob("body: json_schema has no schema")
    return {"answer_schema": dict(schema)}


def _options(rest: dict[str, Any]) -> dict[str, Any]:
    """Return the plain fields; what a job has no word for is passed on as it is.

    Raises:
        InvalidJob: a field that the job itself decides.
    """
    taken: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in rest.items():
        if name in {"model", "temperature", "service_tier"}:
            taken[name] = value
        elif name in _LIMITS:
            taken["max_output_tokens"] = value
        elif name in _DEFAULTS and value in _DEFAULTS[name]:
            continue
        elif name not in _OF_NO_EFFECT:
            extra[name] = value
    for name in extra:
        if why := owned_field(name):
            raise InvalidJob(f"body.{name}: {why}")
    return {**taken, "extra_body": extra} if extra else taken


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidJob(f"{where}: not a text")
    return value
