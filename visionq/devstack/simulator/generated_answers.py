"""The answers: texts about the pictures, and the documents of either API."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from visionq.devstack.simulator.instances import UnsatisfiableError, instance
from visionq.devstack.simulator.model_catalogue import ORDINARY
from visionq.devstack.simulator.question import RESPONSES
from visionq.devstack.simulator.schemas import invalid_schema
from visionq.devstack.simulator.truths import is_judging, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.devstack.simulator.model_catalogue import Counted
    from visionq.devstack.simulator.question import ModelRequest
    from visionq.devstack.simulator.seen_pictures import SeenPicture
    from visionq.devstack.simulator.truths import Quality

#: A question with such letters is answered in Russian.
CYRILLIC: Final = re.compile("[\u0400-\u04ff]")
#: Letters that make about one token: of the Latin alphabet, and of others.
LATIN_PER_TOKEN: Final = 4
OTHERS_PER_TOKEN: Final = 3
#: Tokens that the form of a request counts.
MESSAGE_TOKENS: Final = 7


#: Below any that a model reports.
_LEAST_PROBABILITY: Final = 1e-6
#: What asks the Responses API for log probabilities.
_LOGPROBS: Final = "message.output_text.logprobs"


@dataclass(frozen=True)
class SimulatedAnswer:
    """The model's answer, and its token counts."""

    text: str
    counted: Counted
    reasoning_tokens: int = 0
    #: The service tier that served the call.
    tier: str = ORDINARY
    refused: bool = False
    cut: bool = False
    #: Mean probability of its tokens; None: not known.
    probability: float | None = None

    @property
    def logprobs(self) -> list[dict[str, Any]]:
        """Its log probabilities, as if it were one token."""
        if self.probability is None:
            return []
        logprob = math.log(max(self.probability, _LEAST_PROBABILITY))
        return [{"token": self.text, "logprob": logprob, "bytes": None, "top_logprobs": []}]


def text_tokens(text: str) -> int:
    """Estimate the provider's token count of a text."""
    latin = len(text.encode("ascii", "ignore"))
    return -(-latin // LATIN_PER_TOKEN) - (-(len(text) - latin) // OTHERS_PER_TOKEN)


def spoken(
    question: ModelRequest, facts: Sequence[SeenPicture], quality: Quality | None = None
) -> str:
    """Return the answer's text: `WIDTHxHEIGHT` and the dominant colour's hex of each picture.

    A model of a quality says what is drawn for the first picture, and errs at times.
    """
    kind = question.answer_format.kind
    if kind == "text":
        return described(question, facts) if quality is None else quality.text(known_by(facts))
    brief = "; ".join(f"{fact.size} {fact.colour}" for fact in facts) or "no picture"
    value: Any = {"description": brief}
    if question.answer_format.schema is not None:
        value = _structured(question, brief)
        if quality is not None:
            value = _drawn_answer(question, value, known_by(facts), quality)
    return json.dumps(value, ensure_ascii=False)


def known_by(facts: Sequence[SeenPicture]) -> str:
    """Return the key of a question's ground truth."""
    return facts[0].colour if facts else ""


def _drawn_answer(question: ModelRequest, value: Any, picture: str, quality: Quality) -> Any:  # noqa: ANN401  # any JSON value
    schema = question.answer_format.schema or {}
    if is_judging(schema):
        found = verdict(question.texts, replace(quality, accuracy=1.0).text(picture))
        return value if found is None else {"better": found}
    return quality.answer(schema, value, picture)


def _structured(question: ModelRequest, brief: str) -> Any:  # noqa: ANN401  # any JSON value
    asked = question.answer_format
    try:
        return instance(asked.schema or {}, brief)
    except UnsatisfiableError as error:
        raise invalid_schema(asked.name, f"{error}.", asked.param) from None


def described(question: ModelRequest, facts: Sequence[SeenPicture]) -> str:
    """Return the answer as plain text, in Russian to a question in Russian."""
    russian = any(map(CYRILLIC.search, question.texts))
    if not facts:
        return "Картинки нет." if russian else "There is no picture."
    name, mostly = ("Картинка", "основной цвет") if russian else ("Picture", "mostly")
    return " ".join(
        f"{name} {number}: {fact.size}, {mostly} {fact.colour}."
        for number, fact in enumerate(facts, start=1)
    )


def lengthened(text: str, tokens: int | None) -> str:
    """Return the text padded with words to about this many tokens."""
    missing = (tokens or 0) - text_tokens(text)
    return text + " and" * max(0, missing)


def document(question: ModelRequest, answer: SimulatedAnswer) -> dict[str, Any]:
    """Return the answer in the form of the API that was called."""
    if question.api == RESPONSES:
        return _response(question, answer)
    return _completion(question, answer)


def _response(question: ModelRequest, answer: SimulatedAnswer) -> dict[str, Any]:
    body, counted = question.body, answer.counted
    status = "incomplete" if answer.cut else "completed"
    part: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": []}
    if _LOGPROBS in (body.get("include") or ()):
        part["logprobs"] = answer.logprobs
    if answer.refused:
        part = {"type": "refusal", "refusal": answer.text}
    message: dict[str, Any] = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if answer.cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": question.max_output_tokens,
        "model": question.model,
        "output": [*_thoughts(answer), *([message] if answer.text or not answer.cut else [])],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, **(body.get("text") or {})},
        "tool_choice": "auto",
        "tools": [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "service_tier": answer.tier,
        "usage": {
            "input_tokens": counted.input,
            "input_tokens_details": {
                "cached_tokens": counted.read,
                "cache_write_tokens": counted.written_30m + counted.written_12h,
                "cache_write_tokens_details": {
                    "ttl_30m_tokens": counted.written_30m,
                    "ttl_12h_tokens": counted.written_12h,
                },
            },
            "output_tokens": counted.output,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
            "total_tokens": counted.input + counted.output,
        },
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _thoughts(answer: SimulatedAnswer) -> list[dict[str, Any]]:
    """Return the reasoning item before an answer, without its content."""
    if not answer.reasoning_tokens:
        return []
    return [{"id": f"rs_{uuid.uuid4().hex}", "type": "reasoning", "summary": []}]


def _completion(question: ModelRequest, answer: SimulatedAnswer) -> dict[str, Any]:
    counted = answer.counted
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.refused else answer.text,
        "refusal": answer.text if answer.refused else None,
        "annotations": [],
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": answer.logprobs} if question.body.get("logprobs") else None,
        "finish_reason": "length" if answer.cut else "stop",
    }
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": question.model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": counted.input,
            "completion_tokens": counted.output,
            "total_tokens": counted.input + counted.output,
            "prompt_tokens_details": {
                "cached_tokens": counted.read,
                "cache_write_tokens": counted.written_30m + counted.written_12h,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": answer.reasoning_tokens,
                "audio_tokens": 0,
            },
        },
        "service_tier": answer.tier,
        "system_fingerprint": None,
    }
