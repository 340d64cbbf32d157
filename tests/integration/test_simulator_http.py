"""Money, limits, refusals and the bill of the simulator, over real HTTP."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from functools import cache
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from visionq.contract.result import is_simulated
from visionq.devstack.sample_pictures import sample_pictures
from visionq.devstack.simulator.account import digest_of
from visionq.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.devstack.simulator import RunningSimulator

RESPONSES = "/openai/v1/responses"
#: Of `question()` on gpt-6-luna: 720x480 at `low` is 512x341, 16 by 11 patches, times 1.2; then the
#: message and its text.
INPUT_TOKENS, OUTPUT_TOKENS = 212 + 7 + 2, 9
#: Rubles for a million tokens there, by the built-in table.
INPUT_RUB, OUTPUT_RUB = Decimal("25.8"), Decimal(129)
COST = (INPUT_RUB * INPUT_TOKENS + OUTPUT_RUB * OUTPUT_TOKENS) / 1_000_000


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body: Any = json.loads(text)


def call(
    simulator: RunningSimulator,
    method: str,
    path: str,
    body: object = None,
    key: str | None = "sk-any",
) -> Answer:
    address = urlsplit(simulator.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=20)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        content = body if isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())
    finally:
        connection.close()


def question(picture: str | None = None, **more: object) -> dict[str, Any]:
    url = picture or url_of("sunset.jpg")
    content = [
        {"type": "input_text", "text": "Picture?"},
        {"type": "input_image", "image_url": url, "detail": "low"},
    ]
    return {
        "model": "gpt-6-luna",
        "input": [{"role": "user", "content": content}],
        "max_output_tokens": 100,
        "reasoning": {"effort": "none"},
        **more,
    }


@cache
def samples() -> dict[str, bytes]:
    return {sample.name: sample.content for sample in sample_pictures()}


def url_of(name: str, media_type: str = "image/jpeg") -> str:
    return f"data:{media_type};base64,{base64.b64encode(samples()[name]).decode()}"


def test_bill_counts_every_call_and_charges_answers(simulator: RunningSimulator) -> None:
    """Refused calls are counted and free; answered ones are charged exactly, by their digest."""
    asked = question()
    for _ in range(2):
        answer = call(simulator, "POST", RESPONSES, asked)
        assert answer.body["usage"]["input_tokens"] == INPUT_TOKENS
        assert answer.body["usage"]["output_tokens"] == OUTPUT_TOKENS
    assert call(simulator, "POST", RESPONSES, {"model": "gpt-6-luna"}).status == 400
    assert call(simulator, "POST", RESPONSES, b"{broken").status == 400
    assert call(simulator, "POST", RESPONSES, asked, key=None).status == 401
    bill = simulator.bill()
    assert (bill["calls"], bill["billed"], bill["rub"]) == (5, 2, str(2 * COST))
    assert bill["digests"][digest_of(asked)] == {"calls": 3, "billed": 2}
    assert sum(tally["calls"] for tally in bill["digests"].values()) == 5


def test_bill_can_be_reset(simulator: RunningSimulator) -> None:
    """After `DELETE` the bill is empty."""
    call(simulator, "POST", RESPONSES, question())
    simulator.reset_bill()
    assert simulator.bill() == {"calls": 0, "billed": 0, "rub": "0", "digests": {}}


def test_balance_goes_down_by_what_was_charged(simulator: RunningSimulator) -> None:
    """The balance endpoint shows what is left; a key that may not ask is refused."""
    simulator.configure(balance_rub=5)
    call(simulator, "POST", RESPONSES, question())
    answer = call(simulator, "GET", "/proxyapi/balance")
    assert answer.body == {"balance": float(5 - COST)}
    simulator.configure(balance_readable=False)
    refused = call(simulator, "GET", "/proxyapi/balance")
    assert refused.status == 403
    assert set(refused.body) == {"detail"}
    assert call(simulator, "GET", "/proxyapi/balance", key=None).status == 401


def test_balance_must_cover_the_longest_answer(simulator: RunningSimulator) -> None:
    """402 comes while the balance covers the real cost but not input and longest answer."""
    most = (INPUT_RUB * INPUT_TOKENS + OUTPUT_RUB * 100) / 1_000_000
    simulator.configure(balance_rub=str(most - Decimal("0.000001")))
    refused = call(simulator, "POST", RESPONSES, question())
    assert refused.status == 402
    assert refused.body == {"detail": "Insufficient balance to run this request."}
    simulator.configure(balance_rub=str(most))
    assert call(simulator, "POST", RESPONSES, question()).status == 200
    assert call(simulator, "POST", RESPONSES, question()).status == 402
    assert simulator.bill()["billed"] == 1


def test_token_factor_scales_usage_and_bill_alike(simulator: RunningSimulator) -> None:
    """With a factor of 2 an answer counts and costs twice what the table says."""
    simulator.configure(token_factor=2)
    answer = call(simulator, "POST", RESPONSES, question())
    assert answer.body["usage"]["input_tokens"] == 2 * INPUT_TOKENS
    assert simulator.bill()["rub"] == str(2 * COST)


def test_rate_limit_of_requests(simulator: RunningSimulator) -> None:
    """Beyond the limit 429 comes with headers, uncharged; the headers can be switched off."""
    simulator.configure(requests_per_minute=60)
    passed = call(simulator, "POST", RESPONSES, question())
    assert passed.headers["x-ratelimit-limit-requests"] == "60"
    assert passed.headers["x-ratelimit-remaining-requests"] == "0"
    refused = call(simulator, "POST", RESPONSES, question())
    assert refused.status == 429
    assert refused.body["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["retry-after"] == "1"
    assert 0 < int(refused.headers["retry-after-ms"]) <= 1000
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    simulator.configure(rate_headers=False)
    bare = call(simulator, "POST", RESPONSES, question())
    assert bare.status == 429
    assert not [name for name in bare.headers if name.startswith("x-ratelimit")]
    assert simulator.bill()["billed"] == 1


def test_rate_limit_of_tokens(simulator: RunningSimulator) -> None:
    """Pictures count towards the tokens of a minute."""
    simulator.configure(tokens_per_minute=300)
    assert call(simulator, "POST", RESPONSES, question()).status == 200
    refused = call(simulator, "POST", RESPONSES, question())
    assert refused.status == 429
    assert refused.body["error"]["type"] == "tokens"
    assert int(refused.headers["retry-after"]) > 20


def test_every_answer_has_an_id(simulator: RunningSimulator) -> None:
    """Each answer, refusals included, has an id of its own, which shows that it is simulated."""
    answers = [
        call(simulator, "POST", RESPONSES, question()),
        call(simulator, "POST", RESPONSES, {}),
        call(simulator, "POST", RESPONSES, question(), key=None),
        call(simulator, "GET", "/nowhere"),
        call(simulator, "GET", "/proxyapi/balance"),
    ]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len({UUID(one.removeprefix("simulated-")) for one in ids}) == 5
    assert all(map(is_simulated, ids))


@pytest.mark.parametrize("key", [None, "", "  "])
def test_calls_without_a_key_are_refused(simulator: RunningSimulator, key: str | None) -> None:
    """Any key will do, but there must be one."""
    answer = call(simulator, "POST", RESPONSES, question(), key=key)
    assert (answer.status, answer.body) == (401, {"detail": "Invalid API Key"})


def test_models_that_are_unknown_or_denied(simulator: RunningSimulator) -> None:
    """An unknown model is OpenAI's 404; one that the key may not use is ProxyAPI's 403."""
    unknown = call(simulator, "POST", RESPONSES, question(model="gpt-none"))
    assert unknown.status == 404
    assert unknown.body["error"]["code"] == "model_not_found"
    simulator.configure(denied_models=["gpt-6-luna"])
    denied = call(simulator, "POST", RESPONSES, question())
    assert denied.status == 403
    assert "gpt-6-luna" in denied.body["detail"]


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (url_of("notes.jpg"), "invalid_image_format"),
        (url_of("balloon-animated.gif", "image/gif"), "invalid_image_format"),
        (url_of("empty.jpg"), "empty_image_file"),
        (url_of("cut-off.jpg"), "image_parse_error"),
        (url_of("sunset.jpg", "image/bmp"), "unsupported_image_media_type"),
        ("data:image/jpeg;base64,no!", "invalid_base64_image"),
        ("data:image/jpeg;base64," + "A" * 27_000_000, "image_file_too_large"),
        ("http://127.0.0.1:9/picture.jpg", "failed_to_download_image"),
        ("/etc/passwd", "invalid_image_url"),
    ],
    ids=lambda value: value if len(value) < 40 else "",
)
def test_pictures_that_are_refused(simulator: RunningSimulator, picture: str, code: str) -> None:
    """A picture that can't be used gets 400 with the provider's code, and costs nothing."""
    answer = call(simulator, "POST", RESPONSES, question(picture))
    assert answer.status == 400
    assert answer.body["error"]["code"] == code
    assert answer.body["error"]["param"] == "input[0].content[1].image_url"
    assert simulator.bill()["billed"] == 0


def test_detail_that_the_model_lacks(simulator: RunningSimulator) -> None:
    """`original` on a model without it is a wrong value, not a server error."""
    asked = question(model="gpt-5.2")
    asked["input"][0]["content"][1]["detail"] = "original"
    answer = call(simulator, "POST", RESPONSES, asked)
    assert answer.status == 400
    assert answer.body["error"]["param"] == "input[0].content[1].detail"
    asked["model"] = "gpt-5.4-mini"
    assert call(simulator, "POST", RESPONSES, asked).status == 200


def test_answers_stop_at_their_limit(simulator: RunningSimulator) -> None:
    """An answer longer than `max_output_tokens` is incomplete, and charged up to the limit."""
    asked = question(max_output_tokens=16)
    asked["input"][0]["content"] += [asked["input"][0]["content"][1]] * 3
    body = call(simulator, "POST", RESPONSES, asked).body
    assert body["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["usage"]["output_tokens"] == 16


def test_letters_come_back_as_they_went(simulator: RunningSimulator) -> None:
    """Every alphabet passes unescaped and unharmed, a lone surrogate included."""
    asked = question(instructions="Ёж — 🦔 «да»", metadata={"имя": "\ud800"})
    answer = call(simulator, "POST", RESPONSES, asked)
    assert answer.body["instructions"] == "Ёж — 🦔 «да»"
    assert answer.body["metadata"] == {"имя": "\ud800"}


def test_settings_merge_and_refuse_by_name(simulator: RunningSimulator) -> None:
    """`PUT` keeps what is not named; a wrong value or key is 422 with its name, changing none."""
    simulator.configure(latency_s=0.5, faults={"429": 0.25})
    simulator.configure(seed=3)
    settings = simulator.settings()
    assert (settings["latency_s"], settings["faults"], settings["seed"]) == (0.5, {"429": 0.25}, 3)
    for wrong in ({"latency_s": "x", "seed": 9}, {"colour": 1}):
        with pytest.raises(ConfigurationError, match=rf"422.*{next(iter(wrong))}"):
            simulator.configure(**wrong)
    for body in (b"[]", b"{"):
        assert call(simulator, "PUT", "/simulator/settings", body).status == 422
    assert simulator.settings() == settings


def test_latency_comes_before_the_answer(simulator: RunningSimulator) -> None:
    """An admitted call is charged at once, and answered after the latency."""
    simulator.configure(latency_s=0.4)
    address = urlsplit(simulator.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=0.2)
    try:
        headers = {"Authorization": "Bearer sk-any"}
        connection.request("POST", RESPONSES, json.dumps(question()), headers)
        with pytest.raises(TimeoutError):
            connection.getresponse()
    finally:
        connection.close()
    assert simulator.bill()["billed"] == 1


# Caches, reasoning and tiers ----------------------------------------------------------------------

#: 3,000 tokens of instructions, and what a token of gpt-6-luna costs, in rubles for a million.
LONG = "abc " * 3000
LUNA = {"input": "25.8", "read": "2.58", "written": "32.25", "output": "129"}


def luna(simulator: RunningSimulator, **more: object) -> tuple[dict[str, Any], Decimal]:
    """Ask gpt-6-luna; returns the usage, and the rubles that were charged."""
    before = Decimal(simulator.bill()["rub"])
    asked = question(model="gpt-6-luna", instructions=LONG, reasoning={"effort": "none"}) | more
    answer = call(simulator, "POST", RESPONSES, asked)
    assert answer.status == 200, answer.body
    return answer.body["usage"], Decimal(simulator.bill()["rub"]) - before


def rub_of(usage: dict[str, Any]) -> Decimal:
    into = usage["input_tokens_details"]
    read, written = into["cached_tokens"], into["cache_write_tokens"]
    counted = {
        "input": usage["input_tokens"] - read - written,
        "read": read,
        "written": written,
        "output": usage["output_tokens"],
    }
    rub = sum((Decimal(LUNA[kind]) * tokens for kind, tokens in counted.items()), Decimal(0))
    return rub / 10**6


def test_the_cache_is_billed(simulator: RunningSimulator) -> None:
    """A cache write costs 1.25 x input, a read a tenth; its lifetime is reported as well."""
    simulator.configure(cache_clock_ahead_s=10**6)  # earlier prefixes have lapsed
    first, cost = luna(simulator)
    into, whole = first["input_tokens_details"], first["input_tokens"]
    assert (into["cached_tokens"], into["cache_write_tokens"]) == (0, whole)
    assert into["cache_write_tokens_details"] == {"ttl_30m_tokens": whole, "ttl_12h_tokens": 0}
    assert cost == rub_of(first)
    again, cheaper = luna(simulator, input="And now?")
    read = again["input_tokens_details"]["cached_tokens"]
    assert 3000 <= read < again["input_tokens"]
    assert again["input_tokens_details"]["cache_write_tokens"] == again["input_tokens"] - read
    assert cheaper == rub_of(again)
    simulator.configure(cache_clock_ahead_s=10**6 + 1800)
    longer, _ = luna(simulator, prompt_cache_options={"ttl": "12h"})
    assert longer["input_tokens_details"]["cache_write_tokens_details"]["ttl_12h_tokens"] == whole
    nothing, plain = luna(simulator, prompt_cache_options={"mode": "explicit"})
    assert nothing["input_tokens_details"]["cached_tokens"] == 0
    assert plain == rub_of(nothing) == (Decimal("25.8") * whole + 129 * 9) / 10**6


def test_reasoning_is_billed(simulator: RunningSimulator) -> None:
    """Reasoning is part of the answer's tokens, the more the higher the effort, never the limit."""
    told = []
    for effort in ("none", "low", "medium", None):
        usage, cost = luna(
            simulator, reasoning=effort and {"effort": effort}, max_output_tokens=1000
        )
        assert cost == rub_of(usage)
        told.append(usage["output_tokens_details"]["reasoning_tokens"])
        assert usage["output_tokens"] == 9 + told[-1]
    assert told[0] == 0 < told[1] < told[2]
    assert told[3] > told[1], "medium is the default"
    usage, _ = luna(simulator, reasoning={"effort": "high"}, max_output_tokens=100)
    assert usage["output_tokens"] == 100
    assert usage["output_tokens_details"]["reasoning_tokens"] == 100


def test_tiers_are_billed(simulator: RunningSimulator) -> None:
    """A call at a tier costs its factor; one that the model does not have is refused."""
    explicit = {"prompt_cache_options": {"mode": "explicit"}}
    _, ordinary = luna(simulator, **explicit)
    for tier, factor in (("flex", "0.5"), ("fast", "2"), ("auto", "1")):
        assert luna(simulator, service_tier=tier, **explicit)[1] == Decimal(factor) * ordinary
    refused = call(simulator, "POST", RESPONSES, question(service_tier="warp"))
    assert (refused.status, refused.body["error"]["param"]) == (400, "service_tier")
