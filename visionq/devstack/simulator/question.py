"""Read a request body of either API, as strictly as the provider does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from visionq.devstack.simulator import parameters
from visionq.devstack.simulator.cache import LIFETIMES, MODES, CacheOptions
from visionq.devstack.simulator.refusals import by_openai, missing, wrong_type, wrong_value
from visionq.devstack.simulator.schemas import RequestedFormat, read_format

RESPONSES: Final = "responses"
CHAT_COMPLETIONS: Final = "chat_completions"

DETAILS: Final = ("low", "high", "auto", "original")
ROLES: Final = ("system", "developer", "user", "assistant", "tool")
RESPONSES_PARTS: Final = ("input_text", "input_image", "output_text", "refusal")
CHAT_PARTS: Final = ("text", "image_url", "refusal")
#: Parts that carry text, in either API.
TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text", "refusal"})
#: Fewest tokens that an answer may be limited to in Responses.
LEAST_OUTPUT_TOKENS: Final = 16


@dataclass(frozen=True)
class PictureSource:
    """The source of a picture, and its field in the request."""

    url: str
    detail: str
    param: str


@dataclass(frozen=True)
class PromptPart:
    """A text or a picture of the prompt; a cache breakpoint may follow it."""

    text: str | None = None
    picture: PictureSource | None = None
    breakpoint: bool = False


@dataclass
class ModelRequest:
    """A parsed request of either API."""

    api: str
    model: str
    body: Mapping[str, Any]
    max_output_tokens: int | None = None
    answer_format: RequestedFormat = field(default_factory=RequestedFormat)
    cache: CacheOptions = field(default_factory=CacheOptions)
    parts: list[PromptPart] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """All texts, in their order."""
        return [part.text for part in self.parts if part.text is not None]

    @property
    def pictures(self) -> list[PictureSource]:
        """All pictures, in their order."""
        return [part.picture for part in self.parts if part.picture is not None]


def read_question(api: str, body: object) -> ModelRequest:
    """Return the request in a body; raise the provider's `Refusal` if it is invalid."""
    if not isinstance(body, dict):
        raise by_openai("The body of the request is not a JSON object.", code=None)
    known = parameters.RESPONSES if api == RESPONSES else parameters.CHAT_COMPLETIONS
    for name in body:
        if name not in known:
            message = f"Unknown parameter: '{name}'."
            raise by_openai(message, param=name, code="unknown_parameter")
    _check_common(body)
    question = ModelRequest(api, body["model"], body)
    question.cache = _cache_options(body)
    if api == RESPONSES:
        _read_responses(question)
    else:
        _read_chat(question)
    return question


def _check_common(body: Mapping[str, Any]) -> None:
    if body.get("model") in (None, ""):
        raise missing("model")
    if not isinstance(body["model"], str):
        raise wrong_type("model", "a string", body["model"])
    for name, accepted in parameters.UNSUPPORTED.items():
        if body.get(name) not in accepted:
            message = f"The simulator does not support '{name}'."
            raise by_openai(message, param=name, code="unsupported_parameter")
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(name, "a decimal", value)
        if not 0 <= value <= most:
            message = f"Invalid '{name}': expected a value from 0 to {most}, but got {value}."
            code = "decimal_below_min_value" if value < 0 else "decimal_above_max_value"
            raise by_openai(message, param=name, code=code)


def _cache_options(body: Mapping[str, Any]) -> CacheOptions:
    options = _object(body, "prompt_cache_options")
    chosen = []
    for name, known in (("mode", MODES), ("ttl", tuple(LIFETIMES))):
        value = options.get(name)
        if value is not None and value not in known:
            raise wrong_value(f"prompt_cache_options.{name}", value, known)
        chosen.append(known[0] if value is None else value)
    return CacheOptions(*chosen)


def _read_responses(question: ModelRequest) -> None:
    body = question.body
    limit = _limit(body, "max_output_tokens", LEAST_OUTPUT_TOKENS)
    question.max_output_tokens = limit
    text = _object(body, "text")
    question.answer_format = read_format(text.get("format"), "text.format", nested=None)
    instructions = body.get("instructions")
    if instructions is not None:
        question.parts.append(PromptPart(_string(instructions, "instructions")))
    items = body.get("input")
    if items is None or items in ("", []):
        raise missing("input")
    if isinstance(items, str):
        question.parts.append(PromptPart(items))
    elif isinstance(items, list):
        _read_messages(question, items, "input")
    else:
        raise wrong_type("input", "a string or an array", items)


def _read_chat(question: ModelRequest) -> None:
    body = question.body
    limits = [_limit(body, name, 1) for name in ("max_completion_tokens", "max_tokens")]
    question.max_output_tokens = next((limit for limit in limits if limit is not None), None)
    question.answer_format = read_format(
        body.get("response_format"), "response_format", nested="json_schema"
    )
    messages = body.get("messages")
    if messages is None or messages == []:
        raise missing("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array", messages)
    _read_messages(question, messages, "messages")


def _read_messages(question: ModelRequest, messages: list[Any], path: str) -> None:
    for position, message in enumerate(messages):
        here = f"{path}[{position}]"
        if not isinstance(message, dict):
            raise wrong_type(here, "an object", message)
        if "role" not in message:
            raise missing(f"{here}.role")
        if message["role"] not in ROLES:
            raise wrong_value(f"{here}.role", message["role"], ROLES)
        content = message.get("content")
        if isinstance(content, str):
            question.parts.append(PromptPart(content))
        elif isinstance(content, list):
            for index, part in enumerate(content):
                _read_part(question, part, f"{here}.content[{index}]")
        elif content is None:
            raise missing(f"{here}.content")
        else:
            raise wrong_type(f"{here}.content", "a string or an array", content)


def _read_part(question: ModelRequest, part: object, path: str) -> None:
    if not isinstance(part, dict):
        raise wrong_type(path, "an object", part)
    if "type" not in part:
        raise missing(f"{path}.type")
    kind, marked = part["type"], part.get("prompt_cache_breakpoint") is not None
    in_responses = question.api == RESPONSES
    supported = RESPONSES_PARTS if in_responses else CHAT_PARTS
    if kind not in supported:
        raise wrong_value(f"{path}.type", kind, supported)
    if kind in TEXT_PARTS:
        name = "refusal" if kind == "refusal" else "text"
        if name not in part:
            raise missing(f"{path}.{name}")
        question.parts.append(PromptPart(_string(part[name], f"{path}.{name}"), breakpoint=marked))
        return
    picture = _picture(part, path, "image_url") if in_responses else _chat_picture(part, path)
    question.parts.append(PromptPart(picture=picture, breakpoint=marked))


def _chat_picture(part: Mapping[str, Any], path: str) -> PictureSource:
    """Accept OpenAI's object, and the bare string of ProxyAPI's page."""
    value = part.get("image_url")
    if isinstance(value, dict):
        return _picture(value, f"{path}.image_url", "url")
    return _picture(part, path, "image_url")


def _picture(holder: Mapping[str, Any], path: str, name: str) -> PictureSource:
    if holder.get("file_id") is not None:
        message = f"No such File object: {holder['file_id']}"
        raise by_openai(message, status=404, param=f"{path}.file_id", code="image_file_not_found")
    url = holder.get(name)
    param = f"{path}.{name}"
    if url is None or url == "":
        raise missing(param)
    detail = holder.get("detail")
    if detail is None:
        detail = "auto"
    if detail not in DETAILS:
        raise wrong_value(f"{path}.detail", detail, DETAILS)
    url = _string(url, param)
    if not url.startswith(("data:", "http://", "https://")):
        message = f"Invalid '{param}': expected a data URL or an http(s) URL."
        raise by_openai(message, param=param, code="invalid_image_url")
    return PictureSource(url, detail, param)


def _limit(body: Mapping[str, Any], name: str, least: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer", value)
    if value < least:
        message = f"Invalid '{name}': expected a value >= {least}, but got {value} instead."
        raise by_openai(message, param=name, code="integer_below_min_value")
    return value


def _string(value: object, param: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return value


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong_type(name, "an object", value)
    return value
