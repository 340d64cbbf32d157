from __future__ import annotations

import json
import random
from decimal import Decimal

import pytest

from visionq.devstack.simulator.account import Account, Bill, TokenBucket, digest_of, duration
from visionq.devstack.simulator.faults import EARLY, Fault, draw, refusal_of
from visionq.devstack.simulator.model_catalogue import load_catalogue
from visionq.devstack.simulator.refusals import SimulatedRefusal
from visionq.devstack.simulator.simulator_settings import SimulatorSettings

MODEL = "gpt-6-luna"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def account(clock: Clock | None = None, **settings: object) -> Account:
    made = Account(load_catalogue(), SimulatorSettings(), clock or Clock())
    made.configure(settings)
    return made


def test_digest_sees_the_question_not_its_spelling() -> None:
    """Order of keys, blanks and escapes make no other digest; another word does."""
    one = json.loads('{"a": "\\u0416", "b": [1, 2]}')
    other = json.loads('{ "b":[1,2], "a":"Ж" }')
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of({"a": "Ж", "b": [2, 1]})


def test_bill_adds_up_exactly() -> None:
    """Ten times ten kopecks is one ruble, as a string without an exponent."""
    bill = Bill()
    for _ in range(10):
        bill.receive("x")
        bill.charge("x", Decimal("0.1"))
    bill.receive("y")
    assert bill.to_public() == {
        "calls": 11,
        "billed": 10,
        "rub": "1",
        "digests": {"x": {"calls": 10, "billed": 10}, "y": {"calls": 1, "billed": 0}},
    }


def test_balance_must_cover_the_most_and_pays_the_least() -> None:
    """A call is refused unless the dearest answer is covered, and then charged what it cost."""
    made = account(balance_rub="1.00")
    made.admit("x", at_most=Decimal("0.9"), rub=Decimal("0.3"))
    assert made.settings.balance_rub == Decimal("0.70")
    with pytest.raises(SimulatedRefusal) as caught:
        made.admit("x", at_most=Decimal("0.9"), rub=Decimal("0.3"))
    assert caught.value.status == 402
    assert caught.value.body == {"detail": "Insufficient balance to run this request."}
    assert made.bill.rub == Decimal("0.3")


def test_settings_do_not_refund() -> None:
    """Changing another setting leaves the balance where the calls have brought it."""
    made = account(balance_rub=10)
    made.admit("x", at_most=Decimal(4), rub=Decimal(4))
    made.configure({"latency_s": 1})
    made.reset_bill()
    assert made.settings.balance_rub == 6
    made.configure({"balance_rub": 100})
    assert made.settings.balance_rub == 100


def test_ordered_faults_come_first_and_once() -> None:
    """Ordered faults strike the next calls in turn, before the probabilities, and are used up."""
    made = account(faults_next=["429", "hang"], faults={"500": 1.0})
    assert [made.next_fault() for _ in range(3)] == [
        Fault.RATE_LIMIT,
        Fault.HANG,
        Fault.SERVER_ERROR,
    ]
    assert made.settings.faults_next == ()


def test_random_faults_repeat_with_the_seed() -> None:
    """The same seed gives the same faults, at about their probabilities."""
    odds = {"429": 0.1, "503": 0.1}
    made = account(seed=7, faults=odds)
    first = [made.next_fault() for _ in range(2000)]
    made.configure({"seed": 7})
    assert [made.next_fault() for _ in range(2000)] == first
    assert 140 < first.count(Fault.RATE_LIMIT) < 260
    assert 140 < first.count(Fault.OVERLOADED) < 260


def test_certain_fault_always_strikes() -> None:
    """A probability of 1 leaves no call unharmed, and none at all harms none."""
    source = random.Random(1)
    assert {draw({Fault.HANG: 1.0}, source) for _ in range(500)} == {Fault.HANG}
    assert draw({}, source) is None


#: What gives no answer, or one of nobody's form.
FORMLESS = {Fault.HANG, Fault.CUT_BEFORE_BILLING, Fault.BAD_GATEWAY, Fault.NO_FORM}


@pytest.mark.parametrize("fault", sorted(EARLY - FORMLESS))
def test_fault_answers_have_their_shape(fault: Fault) -> None:
    """ProxyAPI's own faults carry `detail`, OpenAI's an `error` with a code."""
    refusal = refusal_of(fault)
    assert refusal is not None
    assert refusal.status == (200 if fault is Fault.ERROR_200 else int(fault))
    expected = {"detail"} if fault in {"401", "402"} else {"error"}
    assert set(refusal.body) == expected


def test_limit_lets_through_what_it_says() -> None:
    """Over ten minutes, sixty requests a minute are let through, and one burst more at most."""
    clock = Clock()
    made = account(clock, requests_per_minute=60)
    passed = 0
    for _ in range(6000):
        clock.now += 0.1
        try:
            made.take_permit("requests", MODEL, 1)
        except SimulatedRefusal:
            continue
        passed += 1
    assert 599 <= passed <= 601


def test_refusal_by_a_limit_says_when_to_come_back() -> None:
    """A 429 names the limit, and the time after which the same call passes."""
    clock = Clock()
    made = account(clock, requests_per_minute=30)
    made.take_permit("requests", MODEL, 1)
    with pytest.raises(SimulatedRefusal) as caught:
        made.take_permit("requests", MODEL, 1)
    assert caught.value.status == 429
    assert caught.value.body["error"]["code"] == "rate_limit_exceeded"
    assert caught.value.body["error"]["type"] == "requests"
    assert caught.value.headers == {"Retry-After": "2", "retry-after-ms": "2000"}
    clock.now += 2
    made.take_permit("requests", MODEL, 1)


def test_call_larger_than_the_burst_passes_and_leaves_a_debt() -> None:
    """A call of a whole minute's tokens passes when nothing is owed; the next waits a minute."""
    bucket = TokenBucket.full(60_000, now=0)
    assert bucket.wait_for(60_000, now=0) == 0
    bucket.take(60_000)
    assert bucket.wait_for(1000, now=0) == pytest.approx(60)


def test_limits_are_kept_for_each_model() -> None:
    """A model at its limit leaves the others free."""
    made = account(requests_per_minute=1)
    made.take_permit("requests", MODEL, 1)
    made.take_permit("requests", "gpt-5.4-mini", 1)
    with pytest.raises(SimulatedRefusal):
        made.take_permit("requests", MODEL, 1)


def test_rate_headers_show_limits_that_are_set() -> None:
    """Headers tell limit, rest and reset of the limits there are, unless they are switched off."""
    made = account(requests_per_minute=120)
    made.take_permit("requests", MODEL, 1)
    assert made.rate_headers(MODEL) == {
        "x-ratelimit-limit-requests": "120",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "500ms",
    }
    made.configure({"rate_headers": False})
    assert made.rate_headers(MODEL) == {}


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, "0ms"), (0.12, "120ms"), (1.5, "1.5s"), (360, "6m0s")]
)
def test_durations_are_written_as_the_provider_writes_them(seconds: float, written: str) -> None:
    """Resets are milliseconds, seconds, or minutes and seconds."""
    assert duration(seconds) == written
