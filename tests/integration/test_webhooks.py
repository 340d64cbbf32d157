"""Webhooks: a tenant gets its own ends, verifiably, until it has taken them."""

from __future__ import annotations

import base64
import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import standardwebhooks
from openai import OpenAI

from tests.support.ledger import Clock, LedgerDriver, new_job, outcome_of, unpaid
from tests.support.webhook_receiver import Receiver, receiving
from visionq import names
from visionq.ledger import DeliveryEnding, DeliveryState, LedgerOptions
from visionq.ledger.deliveries import latest
from visionq.ledger.metrics import read_counters
from visionq.webhooks import (
    Webhook,
    find_webhook,
    list_webhooks,
    remove_webhook,
    rotate_secret,
    set_webhook,
)
from worker.delivery_sender import GIVE_UP_AFTER, DeliverySender, signed_headers
from worker.fetch import Fetcher, FetchPolicy

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Delivery

DAY = 24 * 3600


class WebhookDriver(LedgerDriver):
    """A ledger, and someone who takes its events to a receiver."""

    def __init__(self, redis: Redis, **policy: Any) -> None:
        super().__init__(redis, LedgerOptions(), Clock(float(round(time.time()))))
        limits = {"allow_private": True, "total_timeout": 5, "longest_wait": 7200}
        fetcher = Fetcher(FetchPolicy(**{**limits, **policy}))
        self.delivery_sender = DeliverySender(
            self.ledger, fetcher, pytest.fail, random.Random(3).random, time.sleep
        )

    def told(self) -> list[DeliveryEnding]:
        """Take what is due now to the receiver."""
        hints = self.ledger.dispatch().deliveries
        return [ending for hint in hints if (ending := self.delivery_sender.deliver(hint.id))]

    def told_over(self, seconds: float, step: float = 600) -> list[DeliveryEnding]:
        """Take what is due to the receiver for so long."""
        endings = self.told()
        for _ in range(round(seconds / step)):
            self.clock.now += step
            endings += self.told()
        return endings

    def log(self, tenant: str = "default") -> list[Delivery]:
        return latest(self.redis, tenant, 100)


def secret_of(redis: Redis, tenant: str = "default") -> str:
    webhook = find_webhook(redis, tenant)
    assert webhook is not None
    return webhook.secrets[0].value


def test_openai_and_standard_webhooks_verify(redis: Redis, receiver: Receiver) -> None:
    """An event has OpenAI's form, which its SDK unwraps, and is signed to the letter."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job("resp_1")))
    assert [ending.state for ending in driver.told()] == [DeliveryState.DELIVERED]
    ((headers, body),) = receiver.received
    secret = secret_of(redis)
    with OpenAI(api_key="any", webhook_secret=secret) as client:
        event = client.webhooks.unwrap(body, headers)
        assert event.type == "response.cancelled"
        assert (event.id, event.data.id, event.object) == (headers["webhook-id"], "resp_1", "event")
        assert event.created_at == int(driver.clock.now)
        with pytest.raises(Exception, match="signature"):
            client.webhooks.unwrap(body.replace(b"resp_1", b"resp_2"), headers)
    standardwebhooks.Webhook(secret).verify(body, headers)
    other = "whsec_" + base64.b64encode(b"another secret, of as many bytes").decode()
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(other).verify(body, headers)
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("end", "event"),
    [
        ("completed", "response.completed"),
        ("failed", "response.failed"),
        ("incomplete", "response.incomplete"),
        ("refused", "response.completed"),
        ("expired", "response.failed"),
        ("cancelled", "response.cancelled"),
    ],
)
def test_every_end_is_told_as_the_gateway_shows_it(
    redis: Redis, receiver: Receiver, end: str, event: str
) -> None:
    """Each way in which a job ends is reported once, by OpenAI's name for it."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    _end_job(driver, end)
    driver.told_over(60, 10)
    assert receiver.types() == [event]


def _end_job(driver: WebhookDriver, end: str) -> None:
    if end in ("expired", "cancelled"):
        ids = driver.enter(new_job())
        (driver.ledger.expire if end == "expired" else driver.ledger.cancel)(ids)
        return
    claim = driver.begin()
    outcome: Any = outcome_of("completed" if end == "completed" else "failed", claim.id)
    if end in ("incomplete", "refused"):
        document = outcome.error.model_copy(update={"code": end})
        outcome = type(outcome)(document, outcome.error_type)
    for _ in range(2):  # the reply to the first call is lost
        assert driver.ledger.finish(claim, unpaid(outcome))


def test_only_the_tenants_own(redis: Redis, receiver: Receiver) -> None:
    """Each tenant gets events of its own jobs alone; one without a webhook costs Redis no key."""
    with receiving() as other:
        set_webhook(redis, "a", receiver.url)
        set_webhook(redis, "b", other.url)
        driver = WebhookDriver(redis)
        jobs = [new_job(f"job-of-{tenant}", tenant=tenant) for tenant in ("a", "b", "c")]
        driver.ledger.cancel(driver.enter(*jobs))
        driver.told()
        for tenant, told in (("a", receiver), ("b", other)):
            (document,) = told.documents()
            assert document["data"] == {"id": f"job-of-{tenant}"}
            (headers, body) = told.received[0]
            standardwebhooks.Webhook(secret_of(redis, tenant)).verify(body, headers)
        assert driver.log("c") == []
        assert len(list(redis.scan_iter(f"{names.DELIVERY}*"))) == 2


def test_jobs_of_batches_are_not_told(redis: Redis, receiver: Receiver) -> None:
    """Jobs that belong to a batch end in silence: a million rows send no million events."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(*(new_job(batch_id="b1") for _ in range(5))))
    assert driver.told() == []
    assert redis.exists(names.DELIVERY_TENANTS) == 0


def test_events_that_are_not_wanted(redis: Redis, receiver: Receiver) -> None:
    """A webhook for some events gets no others."""
    set_webhook(redis, "default", receiver.url, ("response.completed",))
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    _end_job(driver, "completed")
    driver.told_over(60, 10)
    assert receiver.types() == ["response.completed"]


def test_retries_until_taken(redis: Redis, receiver: Receiver) -> None:
    """Errors, redirects and refusals are tried again, under one id and with a new signature."""
    set_webhook(redis, "default", receiver.url)
    receiver.next_statuses.extend([500, 503, 302, 404, 400, 429])
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    endings = driver.told_over(3600, 5)
    assert [ending.status for ending in endings] == [500, 503, 302, 404, 400, 429, 204]
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert len({body for _, body in receiver.received}) == 1
    (delivery,) = driver.log()
    assert (delivery.state, delivery.attempts, delivery.status) == ("delivered", 7, 204)
    assert redis.ttl(names.DELIVERY + delivery.id) > 0
    assert driver.told_over(DAY, 3600) == []


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("600", 600, 600),
        ("99999999", 7200, 7200),
        ("soon", 0, 5),
        ("-5", 0, 5),
        ("9" * 400, 0, 5),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 7200, 7200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 5),
    ],
)
def test_retry_after_is_honoured(
    redis: Redis, receiver: Receiver, asked: str, least: float, most: float
) -> None:
    """A receiver says when to come back; of a wait that is too long it gets two hours."""
    set_webhook(redis, "default", receiver.url)
    receiver.next_statuses.append(503)
    receiver.retry_after = asked
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    (ending,) = driver.told()
    assert least <= ending.delay <= most
    driver.clock.now += ending.delay - 1
    if least:
        assert driver.told() == []
    driver.clock.now += 2
    assert [ending.state for ending in driver.told()] == [DeliveryState.DELIVERED]


def test_gives_up_after_a_day(redis: Redis, receiver: Receiver) -> None:
    """A receiver that is away is tried for a day, more and more seldom, and then no more."""
    set_webhook(redis, "default", receiver.url)
    receiver.status = 500
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    endings = driver.told_over(30 * 3600, 60)
    assert 15 < len(endings) < 60
    assert [ending.state for ending in endings[-2:]] == [
        DeliveryState.WAITING, DeliveryState.FAILED,
    ]  # fmt: skip
    (delivery,) = driver.log()
    assert delivery.tried_at is not None
    tried_for = (delivery.tried_at - delivery.created_at).total_seconds()
    assert GIVE_UP_AFTER - 2.1 * 3600 < tried_for <= GIVE_UP_AFTER
    assert (delivery.state, delivery.fault) == ("failed", "answered 500")


def test_nobody_answers(redis: Redis) -> None:
    """An address where nobody listens is tried again, and the log says why."""
    with receiving() as gone:
        set_webhook(redis, "default", gone.url)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    (ending,) = driver.told()
    assert (ending.state, ending.status) == (DeliveryState.WAITING, None)
    assert driver.log()[0].fault == "the server can't be reached"


def test_gone_disables(redis: Redis, receiver: Receiver) -> None:
    """410 ends it all: what waits is given up, nothing new is entered, the operator is notified."""
    set_webhook(redis, "default", receiver.url)
    receiver.status = 410
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(*(new_job() for _ in range(12))))
    first = driver.delivery_sender.deliver(driver.ledger.dispatch().deliveries[0].id)
    assert first is not None
    assert first.state is DeliveryState.FAILED
    driver.told_over(60, 3)
    assert len(receiver.received) == 1
    assert {delivery.state for delivery in driver.log()} == {DeliveryState.FAILED}
    driver.ledger.cancel(driver.enter(new_job()))
    assert len(driver.log()) == 12
    assert len(receiver.received) == 1
    assert [enabled for _, enabled in list_webhooks(redis)] == [False]
    notices: Any = redis.xrange(names.NOTICES)
    assert [entry[b"subject"] for _, entry in notices] == [b"webhook:default"]
    receiver.status = 200
    set_webhook(redis, "default", receiver.url)
    driver.ledger.cancel(driver.enter(new_job()))
    assert [ending.state for ending in driver.told()] == [DeliveryState.DELIVERED]


def test_gone_says_nothing_of_another_address(redis: Redis, receiver: Receiver) -> None:
    """An address that was replaced while it was called can't disable the one in its place."""
    webhook, _ = set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    (hint,) = driver.ledger.dispatch().deliveries
    claim: Any = driver.ledger.claim_delivery(hint.id, "token", 20)
    set_webhook(redis, "default", receiver.url + "/other")
    gone = DeliveryEnding(DeliveryState.FAILED, status=410, gone=webhook.id)
    assert driver.ledger.finish_delivery(claim, gone)
    assert read_counters(driver.redis).of("webhooks", 1) == {("failed",): 1}
    assert [enabled for _, enabled in list_webhooks(redis)] == [True]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]"])
def test_private_addresses_are_refused(redis: Redis, receiver: Receiver, host: str) -> None:
    """Nothing is sent inside the network, by number or by name, unless the operator allows it."""
    set_webhook(redis, "default", receiver.url.replace("127.0.0.1", host))
    driver = WebhookDriver(redis, allow_private=False)
    driver.ledger.cancel(driver.enter(new_job()))
    (ending,) = driver.told()
    assert ending.state is DeliveryState.FAILED
    assert ending.fault.startswith("unsafe_url")
    assert receiver.received == []


def test_death_of_a_worker(redis: Redis, receiver: Receiver) -> None:
    """A worker that dies with a claimed event, or a hint that is lost, delays it and no more."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.worker()
    driver.ledger.cancel(driver.enter(new_job()))
    assert len(driver.ledger.dispatch().deliveries) == 1  # the hint is lost
    driver.clock.now += 3
    assert driver.ledger.dispatch().deliveries == ()
    driver.clock.now += 3
    (hint,) = driver.ledger.dispatch().deliveries
    claim: Any = driver.ledger.claim_delivery(hint.id, "token", 20)  # and its worker dies
    assert driver.delivery_sender.deliver(hint.id) is None
    endings = []
    for _ in range(12):
        driver.clock.now += 2
        endings += driver.told()
    assert [ending.state for ending in endings] == [DeliveryState.DELIVERED]
    late = DeliveryEnding(DeliveryState.WAITING, 1, 500)
    assert not driver.ledger.finish_delivery(claim, late)
    assert [delivery.state for delivery in driver.log()] == [DeliveryState.DELIVERED]
    assert redis.exists(names.DELIVERIES_OUT, names.DELIVERIES_OUT_OF) == 0


def test_rotation_and_revocation(redis: Redis, receiver: Receiver) -> None:
    """A new secret signs at once; the old one signs too until its time is over, then no more."""
    webhook, is_new = set_webhook(redis, "default", receiver.url)
    assert is_new
    old = webhook.secrets[0].value
    assert set_webhook(redis, "default", receiver.url + "?2")[1] is False
    assert secret_of(redis) == old
    rotated = rotate_secret(redis, "default", timedelta(hours=1))
    assert rotated is not None
    now = datetime.now(UTC)
    headers = dict(signed_headers("evt_1", b"{}", rotated, now))
    for secret in (old, rotated.secrets[0].value):
        standardwebhooks.Webhook(secret).verify(b"{}", headers)
        with OpenAI(api_key="any") as client:
            client.webhooks.verify_signature(b"{}", headers, secret=secret)
        assert _signs(rotated, secret, now)
    assert not _signs(rotated, old, now + timedelta(hours=2))
    assert _signs(rotated, rotated.secrets[0].value, now + timedelta(hours=2))
    revoked = rotate_secret(redis, "default", timedelta(0))
    assert revoked is not None
    assert len(revoked.secrets) == 1
    assert "whsec_" not in repr(revoked)
    assert rotate_secret(redis, "nobody", timedelta(0)) is None


def _signs(webhook: Webhook, secret: str, now: datetime) -> bool:
    """Tell whether what is sent at a time is signed by the secret, for any verifier."""
    headers = dict(signed_headers("evt_1", b"{}", webhook, now))
    expected = standardwebhooks.Webhook(secret).sign("evt_1", now, "{}")
    return expected in headers["webhook-signature"].split()


def test_removed(redis: Redis, receiver: Receiver) -> None:
    """After its removal a webhook gets nothing, not even what waited for it."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    assert remove_webhook(redis, "default")
    assert not remove_webhook(redis, "default")
    assert [ending.state for ending in driver.told()] == [DeliveryState.FAILED]
    assert receiver.received == []
    assert redis.exists(names.WEBHOOKS, names.WEBHOOK_EVENTS) == 0


def test_redelivery(redis: Redis, receiver: Receiver) -> None:
    """A delivered or abandoned event is sent again on request, under the same id."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    driver.told()
    (delivery,) = driver.log()
    assert driver.ledger.redeliver([delivery.id, "evt_none"]) == ["delivered", "missing"]
    assert redis.ttl(names.DELIVERY + delivery.id) == -1
    assert [ending.state for ending in driver.told()] == [DeliveryState.DELIVERED]
    assert len(receiver.received) == 2
    assert receiver.received[0][1] == receiver.received[1][1]
    assert redis.zcard(names.DELIVERIES) == 1


def test_redelivery_of_what_waits(redis: Redis, receiver: Receiver) -> None:
    """An event that waits for its next attempt is sent at once, and has a whole day again."""
    set_webhook(redis, "default", receiver.url)
    receiver.next_statuses.append(500)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job()))
    driver.told()
    (delivery,) = driver.log()
    assert driver.ledger.redeliver([delivery.id]) == ["waiting"]
    assert [ending.state for ending in driver.told()] == [DeliveryState.DELIVERED]


def test_slow_receivers_hold_nobody_up(redis: Redis, receiver: Receiver) -> None:
    """Of one tenant only a few events are out at a time; another's go on beside them."""
    set_webhook(redis, "slow", receiver.url)
    set_webhook(redis, "quick", receiver.url)
    driver = WebhookDriver(redis)
    driver.worker(slots=64)
    jobs = [new_job(tenant="slow") for _ in range(100)]
    driver.ledger.cancel(driver.enter(*jobs))
    first = driver.ledger.dispatch().deliveries
    assert [hint.tenant for hint in first] == ["slow"] * 6
    driver.ledger.cancel(driver.enter(new_job(tenant="quick")))
    assert [hint.tenant for hint in driver.ledger.dispatch().deliveries] == ["quick"]
    driver.delivery_sender.deliver(first[0].id)
    assert [hint.tenant for hint in driver.ledger.dispatch().deliveries] == ["slow"]


def test_many_slow_tenants_hold_nobody_up(redis: Redis, receiver: Receiver) -> None:
    """However many tenants have slow receivers and much to tell, another gets its turn."""
    slow = [f"slow-{number}" for number in range(8)]
    for tenant in (*slow, "quick"):
        set_webhook(redis, tenant, receiver.url)
    driver = WebhookDriver(redis)
    driver.worker(slots=64)
    driver.ledger.cancel(driver.enter(*(new_job(tenant=one) for one in slow for _ in range(20))))
    out = list(driver.ledger.dispatch().deliveries)
    assert len(out) == 8, "an eighth of the slots"
    driver.ledger.cancel(driver.enter(new_job(tenant="quick")))
    driver.delivery_sender.deliver(out[0].id)
    assert [hint.tenant for hint in driver.ledger.dispatch().deliveries] == ["quick"]


def test_all_get_their_turn(redis: Redis, receiver: Receiver) -> None:
    """However many wait, each is reported once, and nothing of the queueing stays behind."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    ids = driver.enter(*(new_job() for _ in range(100)))
    driver.ledger.cancel(ids)
    while driver.told():
        pass
    assert sorted(one["data"]["id"] for one in receiver.documents()) == sorted(ids)
    kept = {names.DELIVERY_TENANTS, names.DELIVERIES_OUT, names.DELIVERIES_OUT_OF}
    assert redis.exists(*kept, names.DELIVERIES_DUE + "default") == 0
    assert redis.zcard(names.DELIVERIES) == 100


def test_log_is_bounded(redis: Redis, receiver: Receiver) -> None:
    """No more deliveries that ended stay listed than the options say, and none for longer."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.ledger.options = LedgerOptions(finished_kept=5, result_ttl=100)
    driver.ledger.cancel(driver.enter(*(new_job() for _ in range(9))))
    while driver.told():
        pass
    assert len(driver.log()) == redis.zcard(names.DELIVERIES) == 5
    assert len(list(redis.scan_iter(f"{names.DELIVERY}*"))) == 5
    driver.clock.now += 101
    driver.ledger.cancel(driver.enter(new_job()))
    driver.told()
    assert redis.zcard(names.DELIVERIES) == 1


def test_form_of_a_request(redis: Redis, receiver: Receiver) -> None:
    """The body is compact JSON, sent as ourselves and not as a browser of pictures."""
    set_webhook(redis, "default", receiver.url)
    driver = WebhookDriver(redis)
    driver.ledger.cancel(driver.enter(new_job("resp_x")))
    driver.told()
    ((headers, body),) = receiver.received
    assert json.dumps(json.loads(body), separators=(",", ":")).encode() == body
    assert (headers["user-agent"], headers["accept"]) == ("visionq", "*/*")
