"""Every fault that can be ordered, as the `openai` SDK and as plain HTTP see it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI

from visionq.devstack.simulator.faults import Fault

if TYPE_CHECKING:
    from visionq.devstack.simulator import RunningSimulator

MODEL = "gpt-6-luna"


def ask(client: OpenAI, api: str) -> Any:  # any error that the SDK raises
    if api == "responses":
        return client.responses.create(model=MODEL, input="Hello")
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}]
    )


@pytest.fixture(params=["responses", "chat_completions"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def outcome(simulator: RunningSimulator) -> tuple[int, int]:
    bill = simulator.bill()
    return bill["calls"], bill["billed"]


@pytest.mark.parametrize(
    ("fault", "error", "body"),
    [
        ("429", openai.RateLimitError, "rate_limit_exceeded"),
        ("500", openai.InternalServerError, "server_error"),
        ("503", openai.InternalServerError, "server_is_overloaded"),
        ("401", openai.AuthenticationError, "Invalid API Key"),
        ("402", openai.APIStatusError, "Insufficient balance to run this request."),
    ],
)
def test_refusals_on_order(  # noqa: PLR0917  # pytest passes them by name
    simulator: RunningSimulator,
    client: OpenAI,
    api: str,
    fault: str,
    error: type[openai.APIStatusError],
    body: str,
) -> None:
    """A refusal has its status and its body, is counted, is not charged, and strikes once."""
    simulator.configure(faults_next=[fault])
    with pytest.raises(error) as caught:
        ask(client, api)
    assert caught.value.status_code == int(fault)
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict)
    assert (caught.value.code or caught.value.body["detail"]) == body
    assert outcome(simulator) == (1, 0)
    ask(client, api)
    assert outcome(simulator) == (2, 1)


def test_refusal_by_limit_tells_when_to_come_back(
    simulator: RunningSimulator, client: OpenAI
) -> None:
    """An ordered 429 asks for a short wait."""
    simulator.configure(faults_next=[429])
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "responses")
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.response.headers["retry-after-ms"] == "100"


def test_page_instead_of_an_answer(simulator: RunningSimulator, client: OpenAI, api: str) -> None:
    """`html_200` is a page that calls itself a success; the answer behind it was charged."""
    simulator.configure(faults_next=["html_200"])
    assert ask(client, api).startswith("<!doctype html>")
    assert outcome(simulator) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "status", "said"), [("502", 502, "<!doctype html>"), ("no_form", 503, "no upstream")]
)
def test_front_that_reaches_nobody(  # noqa: PLR0917  # pytest passes them by name
    simulator: RunningSimulator, client: OpenAI, api: str, fault: str, status: int, said: str
) -> None:
    """`502` is a page and `no_form` JSON of no provider's, both of a front, and not charged."""
    simulator.configure(faults_next=[fault])
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, api)
    assert caught.value.status_code == status
    assert said in caught.value.response.text
    assert outcome(simulator) == (1, 0)


def test_error_that_calls_itself_a_success(
    simulator: RunningSimulator, client: OpenAI, api: str
) -> None:
    """`error_200` is an error's body with status 200, and not charged."""
    simulator.configure(faults_next=["error_200"])
    answer = ask(client, api)
    assert answer.id is None
    assert outcome(simulator) == (1, 0)


def test_broken_json(simulator: RunningSimulator, client: OpenAI, api: str) -> None:
    """`broken_json` is half an answer whose length is right; it was charged."""
    simulator.configure(faults_next=["broken_json"])
    with pytest.raises(json.JSONDecodeError):
        ask(client, api)
    assert outcome(simulator) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "billed", "cause"),
    [
        ("cut_before_billing", 0, "without sending a response"),
        ("cut_after_billing", 1, "without sending complete"),
    ],
)
def test_connection_is_cut(  # noqa: PLR0917  # pytest passes them by name
    simulator: RunningSimulator, client: OpenAI, api: str, fault: str, billed: int, cause: str
) -> None:
    """The connection ends before any answer, uncharged, or in the middle of one, charged."""
    simulator.configure(faults_next=[fault])
    with pytest.raises(openai.APIConnectionError) as caught:
        ask(client, api)
    assert cause in str(caught.value.__cause__)
    assert outcome(simulator) == (1, billed)


def test_hanging_call(simulator: RunningSimulator, client: OpenAI) -> None:
    """`hang` answers nothing until the client goes, charges nothing, and holds up nobody else."""
    simulator.configure(faults_next=["hang"])
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.5), "responses")
    assert outcome(simulator) == (1, 0)
    ask(client, "responses")


def test_refusal_of_the_model(simulator: RunningSimulator, client: OpenAI) -> None:
    """`refusal` says no in the form of each API, with usage, and is charged."""
    simulator.configure(faults_next=["refusal", "refusal"])
    response = ask(client, "responses")
    assert response.output[-1].content[0].type == "refusal"
    assert response.output_text == ""
    assert response.usage.output_tokens > 0
    completion = ask(client, "chat_completions")
    assert completion.choices[0].message.content is None
    assert completion.choices[0].message.refusal
    assert completion.usage.completion_tokens > 0
    assert outcome(simulator) == (2, 2)


def test_answer_that_stops_short(simulator: RunningSimulator, client: OpenAI) -> None:
    """`incomplete` gives half a text and says why, in the form of each API, and is charged."""
    whole = ask(client, "responses").output_text
    simulator.configure(faults_next=["incomplete", "incomplete"])
    response = ask(client, "responses")
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert whole.startswith(response.output_text)
    assert 0 < len(response.output_text) < len(whole)
    assert ask(client, "chat_completions").choices[0].finish_reason == "length"
    assert outcome(simulator) == (3, 3)


def test_answer_of_another_form(simulator: RunningSimulator, client: OpenAI) -> None:
    """`wrong_form` gives plain text where JSON was asked for, and is charged."""
    simulator.configure(faults_next=["wrong_form"])
    form = {"type": "json_object"}
    answer = client.responses.create(model=MODEL, input="JSON?", text={"format": form})  # type: ignore[call-overload]  # a plain dict
    assert answer.output_text == "There is no picture."
    assert outcome(simulator) == (1, 1)


def test_random_faults_are_charged_like_ordered_ones(
    simulator: RunningSimulator, client: OpenAI
) -> None:
    """With a fifth of faults by odds, what was answered is what was charged, call by call."""
    simulator.configure(seed=5, faults={"429": 0.07, "500": 0.07, "503": 0.06})
    seen: Counter[int] = Counter()
    for _ in range(100):
        try:
            ask(client, "responses")
            seen[200] += 1
        except openai.APIStatusError as error:
            seen[error.status_code] += 1
    assert set(seen) == {200, 429, 500, 503}
    assert outcome(simulator) == (100, seen[200])


def test_every_fault_has_a_test() -> None:
    """The faults that can be ordered are those that these tests order."""
    tested = {"429", "500", "503", "401", "402", "html_200", "error_200", "broken_json", "hang"}
    tested |= {"502", "no_form"}
    tested |= {"cut_before_billing", "cut_after_billing", "refusal", "incomplete", "wrong_form"}
    assert set(Fault) == tested
