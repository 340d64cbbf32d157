"""Answers, and what looks like one: both surfaces, every end."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from visionq import errors
from visionq.contract import Api, Usage
from visionq.ledger.records import Billing
from worker.decision import billing_of
from worker.provider.answer import ProviderAnswer, read_answer
from worker.provider.reply import Reply
from worker.provider.request import PATHS, ProviderRequest

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
USAGE = Usage(input_tokens=100, output_tokens=20, cached_tokens=60, reasoning_tokens=5)

TEXT = "Рыжий кот."
NO = "Это невозможно."


def said(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text}


def declined(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


def responses(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:  # JSON
    usage = {
        "input_tokens": 100,
        "output_tokens": 20,
        "input_tokens_details": {"cached_tokens": 60},
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    output = [{"type": "reasoning", "summary": []}, {"type": "message", "content": list(parts)}]
    body = {"id": "resp_1", "status": "completed", "error": None, "output": output, "usage": usage}
    return body | fields


def chat(
    content: object, refusal: str | None = None, finish: str | None = "stop", **fields: object
) -> dict[str, Any]:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return {"id": "chat_1", "choices": [choice], "usage": usage} | fields


def cut(reason: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return responses(*parts, status="incomplete", incomplete_details={"reason": reason})


def read(
    body: dict[str, Any], schema: dict[str, Any] | None = None, status: int = 200
) -> ProviderAnswer:
    api = Api.CHAT_COMPLETIONS if "choices" in body else Api.RESPONSES
    request = ProviderRequest(api, PATHS[api], b"{}", ("a.jpg",), schema)
    reply = Reply(status, {"x-request-id": "req-1"}, json.dumps(body).encode())
    return read_answer(reply, request, now=0)


def raised(body: dict[str, Any], schema: dict[str, Any] | None = None) -> errors.VisionqError:
    with pytest.raises(errors.VisionqError) as caught:
        read(body, schema)
    return caught.value


@pytest.mark.parametrize(
    ("body", "finish"),
    [(responses(said(TEXT)), "completed"), (chat(TEXT), "stop")],
    ids=["responses", "chat"],
)
def test_an_answer(body: dict[str, Any], finish: str) -> None:
    """Text, count, request id and the raw end come through either surface."""
    answer = read(body)
    assert answer == ProviderAnswer(text=TEXT, usage=USAGE, request_id="req-1", finish=finish)


@pytest.mark.parametrize(
    "body",
    [
        responses(said("Рыжий "), said("кот.")),
        responses(said(TEXT), status=None),
        responses({"type": "new"}, said(TEXT), {"type": "output_text", "text": None}),
        chat([{"type": "text", "text": TEXT}]),
        chat(TEXT, finish=None),
        chat(TEXT, finish="end_turn"),
    ],
)
def test_an_answer_in_an_unusual_form(body: dict[str, Any]) -> None:
    """Parts are joined, unknown ones passed over, and a missing end is no failure."""
    assert read(body).text == TEXT


def test_any_status_of_success_will_do() -> None:
    """A gateway that turns 200 into 203 loses no answer."""
    assert read(responses(said(TEXT)), status=203).text == TEXT


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": -5, "output_tokens": 1},
        {"input_tokens": "100", "output_tokens": 1},
        {"input_tokens": True, "output_tokens": 1},
        {"input_tokens": 100},
    ],
)
def test_an_answer_without_a_count_is_kept(usage: object) -> None:
    """A paid answer is never thrown away for want of `usage`; its cost is then unknown."""
    answer = read(responses(said(TEXT), usage=usage))
    assert answer.text == TEXT
    assert answer.usage is None


def test_details_of_the_count_may_be_missing() -> None:
    """Proxies that drop the nested counts cost us only the nested counts."""
    usage = {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": None}
    answer = read(responses(said(TEXT), usage=usage))
    assert answer.usage == Usage(input_tokens=100, output_tokens=20)


def test_no_more_is_cached_than_was_sent() -> None:
    """An absurd count of cached tokens can't make a call cheaper than free."""
    usage = {
        "input_tokens": 100,
        "output_tokens": 1,
        "input_tokens_details": {"cached_tokens": 900},
    }
    answer = read(responses(said(TEXT), usage=usage))
    assert answer.usage is not None
    assert answer.usage.cached_tokens == 100


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (responses(declined(NO)), errors.Refused, NO),
        (chat(None, NO), errors.Refused, NO),
        (cut("content_filter", said("Рыж")), errors.Refused, "Рыж"),
        (chat("Рыж", finish="content_filter"), errors.Refused, "Рыж"),
        (cut("max_output_tokens", said("Рыж")), errors.Incomplete, "Рыж"),
        (cut("max_output_tokens"), errors.Incomplete, None),
        (cut("steered", said("Рыж")), errors.Incomplete, "Рыж"),
        (chat("Рыж", finish="length"), errors.Incomplete, "Рыж"),
        (responses(), errors.InvalidOutput, None),
        (responses(said(" \n")), errors.InvalidOutput, None),
        (chat(""), errors.InvalidOutput, None),
        (chat(None, finish="tool_calls"), errors.InvalidOutput, None),
        (responses(said("Рыж"), status="cancelled"), errors.Incomplete, "Рыж"),
        (responses(said("Рыж"), error={"code": "server_error"}), errors.Incomplete, "Рыж"),
    ],
)
def test_a_paid_answer_that_is_none(
    body: dict[str, Any], error: type[errors.VisionqError], text: str | None
) -> None:
    """Each has its code, its cost, and the text that was paid for."""
    found = raised(body)
    assert type(found) is error
    assert found.usage == USAGE
    assert found.text == text
    assert found.request_id == "req-1"
    assert billing_of(found) is Billing.SETTLED


@pytest.mark.parametrize(
    "body",
    [
        responses(usage=None),
        chat("", usage=None),
        chat(TEXT, choices=[], usage=None),
        {"id": "resp_1"},
        {"id": "resp_1", "status": "completed", "output": "soon"},
        {"id": "chat_1", "choices": [None]},
        responses(said(TEXT), status="in_progress", usage=None),
    ],
)
def test_neither_answer_nor_count_is_unknown_billing(body: dict[str, Any]) -> None:
    """A success that holds nothing may have been billed."""
    assert type(raised(body)) is errors.BillingUnknown


def test_text_beside_a_refusal_is_an_answer() -> None:
    """A model that answers in part keeps its answer, with the refusal beside it."""
    answer = read(responses(said(TEXT), declined(NO)))
    assert (answer.text, answer.refusal) == (TEXT, NO)


@pytest.mark.parametrize("body", [responses(said('{"n": 3}')), chat('{"n": 3}')])
def test_an_answer_of_the_form_asked_for(body: dict[str, Any]) -> None:
    """The parsed answer is beside the raw text."""
    answer = read(body, SCHEMA)
    assert answer.data == {"n": 3}
    assert answer.text == '{"n": 3}'


def test_without_a_schema_nothing_is_parsed() -> None:
    """Text that happens to be JSON stays text."""
    assert read(responses(said('{"n": 3}'))).data is None


@pytest.mark.parametrize("text", ['{"n": "три"}', "три", '{"n": 3'])
def test_an_answer_of_another_form_keeps_its_text(text: str) -> None:
    """An answer that does not fit the schema comes with its cost, raw text and mismatch."""
    answer = read(responses(said(text)), SCHEMA)
    assert answer.validation_error
    assert answer.data is None
    assert (answer.text, answer.usage) == (text, USAGE)


def test_a_refusal_of_a_schema_is_a_refusal() -> None:
    """A model that declines to fill the form has declined, despite other text."""
    assert type(raised(responses(said("{}"), declined(NO)), SCHEMA)) is errors.Refused


def test_half_a_character_can_be_stored() -> None:
    """An answer cut in the middle of an emoji is still text that UTF-8 can hold."""
    assert raised(cut("max_output_tokens", said("Кот \ud83d"))).text == "Кот ?"


def test_a_cut_without_a_count_is_settled_as_an_estimate() -> None:
    """No count does not make a paid call free."""
    body = cut("max_output_tokens", said("Рыж")) | {"usage": None}
    error = raised(body)
    assert error.usage is None
    assert billing_of(error) is Billing.SETTLED


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("reasoning", [0, 900, 1000, 2000])
def test_a_limit_that_reasoning_has_taken(api: Api, reasoning: int) -> None:
    """An answer cut off by its own reasoning says how much that took, and what to set."""
    body = cut("max_output_tokens") if api is Api.RESPONSES else chat("", finish="length")
    side = "output" if api is Api.RESPONSES else "completion"
    body["usage"] |= {
        f"{side}_tokens": 2000, f"{side}_tokens_details": {"reasoning_tokens": reasoning},
    }  # fmt: skip
    request = ProviderRequest(api, PATHS[api], b"{}", (), max_output_tokens=2000, effort="high")
    with pytest.raises(errors.Incomplete) as caught:
        read_answer(Reply(200, {}, json.dumps(body).encode()), request, now=0)
    said, is_told = caught.value.message, reasoning >= 1000
    assert ("--effort none" in said and "--max-output-tokens" in said) is is_told
    assert (f"effort high took {reasoning:,} tokens of 2,000" in said) is is_told


@pytest.mark.parametrize(
    "body",
    [
        responses(said("a cat") | {"logprobs": [{"logprob": -0.1}, {"logprob": -0.3}]}),
        chat("a cat")
        | {
            "choices": [
                {
                    "finish_reason": "stop",
                    "message": {"content": "a cat"},
                    "logprobs": {"content": [{"logprob": -0.1}, {"logprob": -0.3}]},
                }
            ]
        },
    ],
)
def test_probabilities_of_tokens(body: dict[str, Any]) -> None:
    """The mean probability of an answer's tokens is read where the API gives it."""
    assert read(body).sureness == pytest.approx(math.exp(-0.2))
    assert read(chat("a cat")).sureness is None
    assert read(responses(said("a cat") | {"logprobs": [{"logprob": "?"}, 7]})).sureness is None
