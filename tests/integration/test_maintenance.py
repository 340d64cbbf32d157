"""What the fleet's watch does: gates that reopen with the balance, and alerts for an operator."""

from __future__ import annotations

import base64
import time
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.warm_processes import running_simulator
from visionq.contract import DelayReason
from visionq.ledger import GateOrder, Ledger, Registration
from visionq.ledger.gates import read_gate
from visionq.names import GATE, MAINTENANCE, NOTICES
from visionq.providers import load_profile
from visionq.settings import Settings
from worker.provider.free_requests import answers, read_balance
from worker.provider.provider_client import make_client
from worker.threads.maintenance.alerts import AlertSender, LowBalance, Notices
from worker.threads.maintenance.gate import BalanceProbe, OutageProbe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from tests.support.webhook_receiver import Receiver

KEY = "k"
SECRET = "whsec_" + base64.b64encode(b"a secret of the operator").decode()


@contextmanager
def rested(redis: Redis) -> Iterator[None]:
    """Let the next round be due at once."""
    names = ("notices", f"balance:{KEY}", f"balance-read:{KEY}")
    redis.delete(*(MAINTENANCE + name for name in names))
    yield


def registered(redis: Redis) -> Ledger:
    ledger = Ledger(redis)
    ledger.renew(Registration("w", 4, ("visionq.interactive",), key=KEY))
    return ledger


def test_gate_reopens_when_the_balance_covers_what_was_refused(redis: Redis) -> None:
    """A gate closed for want of money begins to reopen when the balance suffices, not before."""
    ledger = registered(redis)
    ledger.steer_gate(KEY, GateOrder.CLOSE, DelayReason.INSUFFICIENT_BALANCE)
    redis.hset(GATE + KEY, "needed", 5_000_000_000)
    balances = iter([None, Decimal(4), Decimal(6)])
    duty = BalanceProbe(redis, ledger, KEY, lambda: next(balances), time.time)
    states = []
    for _ in range(3):
        with rested(redis):
            duty.run()
        states.append(read_gate(redis).state)
    assert states == ["closed", "closed", "reopening"]


def test_gate_closed_by_an_operator_stays_closed(redis: Redis) -> None:
    """Money opens no gate that a person has closed."""
    ledger = registered(redis)
    ledger.steer_gate(KEY, GateOrder.CLOSE, DelayReason.OPERATOR)
    BalanceProbe(redis, ledger, KEY, lambda: Decimal(1000), time.time).run()
    assert read_gate(redis).state == "closed"


def test_no_trial_while_nobody_answers(redis: Redis) -> None:
    """A gate closed for an outage stays closed while a free question brings no word."""
    ledger = registered(redis)
    ledger.steer_gate(KEY, GateOrder.CLOSE, DelayReason.PROVIDER_UNAVAILABLE)
    soon = round(time.time() * 1000) + 100
    redis.hset(GATE + KEY, "retry_at", soon)
    OutageProbe(redis, ledger, KEY, lambda: True).run()
    assert redis.hget(GATE + KEY, "retry_at") == str(soon).encode()
    redis.delete(f"{MAINTENANCE}recovery:{KEY}")
    OutageProbe(redis, ledger, KEY, lambda: False).run()
    until = int(redis.hget(GATE + KEY, "retry_at") or 0)
    assert until >= soon + 9_000
    OutageProbe(redis, ledger, KEY, lambda: False).run()
    assert int(redis.hget(GATE + KEY, "retry_at") or 0) == until, "one process asks at a time"


@pytest.mark.parametrize("reason", [DelayReason.OPERATOR, DelayReason.INSUFFICIENT_BALANCE])
def test_an_outage_puts_off_nothing_else(redis: Redis, reason: DelayReason) -> None:
    """A gate that is closed for another reason is left alone, and nothing is asked."""
    ledger = registered(redis)
    ledger.steer_gate(KEY, GateOrder.CLOSE, reason)
    OutageProbe(redis, ledger, KEY, lambda: pytest.fail("asked")).run()
    ledger.steer_gate(KEY, GateOrder.POSTPONE)
    assert redis.hget(GATE + KEY, "retry_at") is None


def test_a_provider_answers_in_its_own_words() -> None:
    """A list of models and a refusal are words of the provider's; a page and silence are not."""
    said = {
        (200, '{"object": "list", "data": []}'): True,
        (401, '{"detail": "Invalid API Key"}'): True,
        (429, '{"error": {"message": "slow down"}}'): True,
        (502, "<!doctype html><html></html>"): False,
        (200, "<!doctype html><html></html>"): False,
        (503, '{"message": "no upstream"}'): False,
    }
    settings = Settings(api_key=SecretStr("k"), base_url="https://provider.test/openai/v1")
    for (status, body), speaks in said.items():
        reply = partial(httpx2.Response, status, text=body)
        transport = httpx2.MockTransport(lambda _, reply=reply: reply())
        with openai.DefaultHttpxClient(transport=transport) as http_client:
            assert answers(make_client(settings, http_client)) is speaks, (status, body)
    nobody = Settings(api_key=SecretStr("k"), base_url="http://127.0.0.1:9/openai/v1")
    assert answers(make_client(nobody)) is False


def test_balance_is_exact_or_unknown() -> None:
    """The balance comes as a decimal where the key may ask, and is unknown otherwise."""
    with running_simulator(balance_rub=123.45) as simulator:
        settings = Settings(api_key=SecretStr("k"), base_url=simulator.provider_url)
        client = make_client(settings)
        assert read_balance(client, load_profile().balance) == Decimal("123.45")
        simulator.configure(balance_readable=False)
        assert read_balance(client, load_profile().balance) is None
    assert read_balance(client, load_profile().balance) is None


def test_one_signed_alert_for_each_change_of_the_gate(redis: Redis, receiver: Receiver) -> None:
    """Closing and opening send one verifiable alert each, however many processes look."""
    ledger = registered(redis)
    duties = [Notices(redis, AlertSender(receiver.url, SECRET), time.time) for _ in range(3)]
    ledger.steer_gate(KEY, GateOrder.CLOSE, DelayReason.INSUFFICIENT_BALANCE)
    ledger.steer_gate(KEY, GateOrder.OPEN)
    for duty in duties:
        with rested(redis):
            duty.run()
    assert [document["type"] for document in receiver.documents()] == ["gate.closed", "gate.open"]
    headers, body = receiver.received[0]
    Webhook(SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)
    assert "insufficient_balance" in receiver.documents()[0]["message"]


def test_an_alert_that_was_not_taken_is_sent_again(redis: Redis, receiver: Receiver) -> None:
    """An alert that the receiver did not take is sent again later, under the same id."""
    ledger = registered(redis)
    duty = Notices(redis, AlertSender(receiver.url, SECRET), time.time)
    ledger.steer_gate(KEY, GateOrder.CLOSE, DelayReason.KEY_REJECTED)
    for receiver.status in (500, 204, 204):
        with rested(redis):
            duty.run()
    assert len(receiver.received) == 2
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1


def test_workers_that_vanish_together_are_one_alert(redis: Redis, receiver: Receiver) -> None:
    """Workers whose registration lapsed in one look are reported in one alert that names them."""
    now = time.time()
    ledger = Ledger(redis, clock=lambda: now)
    for name in ("first", "second"):
        ledger.renew(Registration(name, 4, ("visionq.interactive",), key=KEY))
    ledger.dispatch()
    for _ in range(5):
        now += 3
        ledger.renew(Registration("third", 4, ("visionq.interactive",), key=KEY))
        ledger.dispatch()
    Notices(redis, AlertSender(receiver.url, ""), time.time).run()
    (document,) = receiver.documents()
    assert document["type"] == "workers.vanished"
    assert "first" in document["message"]
    assert "second" in document["message"]
    assert "webhook-signature" not in receiver.received[0][0]


def test_a_low_balance_is_told_once_until_it_recovers(redis: Redis, receiver: Receiver) -> None:
    """Falling below the line sends one alert; another comes only after a recovery."""
    balances = iter(map(Decimal, (150, 90, 80, 200, 70)))
    sender = AlertSender(receiver.url, SECRET)
    low = LowBalance(redis, KEY, sender, time.time, Decimal(100))
    duty = BalanceProbe(redis, registered(redis), KEY, lambda: next(balances), time.time, low.check)
    for _ in range(5):
        with rested(redis):
            duty.run()
    assert [document["type"] for document in receiver.documents()] == ["balance.low"] * 2
    assert "90 ₽" in receiver.documents()[0]["message"]


def test_a_budget_that_runs_low_is_one_alert(redis: Redis, receiver: Receiver) -> None:
    """The alert names the tenant, the period, and how much of the budget is used."""
    fields: Any = {"subject": "budget:tenant:acme", "reason": "day 8000000000 10000000000"}
    for state in ("low", "exhausted"):
        redis.xadd(NOTICES, {"state": state, **fields})
    Notices(redis, AlertSender(receiver.url, SECRET), time.time).run()
    low, exhausted = receiver.documents()
    assert (low["type"], exhausted["type"]) == ("budget.low", "budget.exhausted")
    assert low["message"] == "budget of tenant acme, day: 8 of 10 ₽ are used"
    assert "visionq budget set" in exhausted["message"]


def test_a_stopped_tenant_is_one_alert(redis: Redis, receiver: Receiver) -> None:
    """The alert says how many of its paid answers failed, and how to let it go on."""
    fields: Any = {"subject": "waste:acme", "state": "stopped", "reason": "21 of 40"}
    redis.xadd(NOTICES, fields)
    Notices(redis, AlertSender(receiver.url, SECRET), time.time).run()
    (stopped,) = receiver.documents()
    assert stopped["type"] == "tenant.stopped"
    assert "of the last paid answers of tenant acme 21 of 40 failed" in stopped["message"]
    assert "visionq budget waste release --tenant acme" in stopped["message"]
