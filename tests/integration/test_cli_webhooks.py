"""`visionq webhooks`: which events go to which address."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from producer.gateway.batches.batch_store import Batch, BatchBook
from tests.support.ledger import new_job
from visionq import names
from visionq.cli.webhooks import webhooks
from visionq.ledger import (
    AsyncLedger,
    DeliveryClaim,
    DeliveryEnding,
    DeliveryState,
    Ledger,
    NewJob,
    Submitted,
)
from visionq.ledger.deliveries import latest
from visionq.redis_connection import connect_async
from visionq.webhooks import set_webhook

if TYPE_CHECKING:
    from click.testing import Result
    from redis import Redis

URL = "https://shop.example/events"


@pytest.fixture(autouse=True)
def _address(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(webhooks, arguments, standalone_mode=False)


def run(*arguments: str) -> Any:
    done = invoke(*arguments, "--json")
    assert done.exception is None, done.output
    return json.loads(done.stdout)


def end(redis: Redis, job: NewJob) -> None:
    ledger = Ledger(redis)
    assert isinstance(ledger.submit([job])[0], Submitted)
    ledger.cancel([job.id])


def test_a_secret_is_shown_once() -> None:
    """Making and rotating show the secret; changing the address and listing do not."""
    made = run("set", URL, "--tenant", "shop", "--event", "batch.completed")
    assert made["secret"].startswith("whsec_")
    assert (made["tenant"], made["url"], made["events"]) == ("shop", URL, ["batch.completed"])
    changed = run("set", URL + "/2", "--tenant", "shop")
    assert "secret" not in changed
    assert changed["id"] != made["id"]
    rotated = run("rotate", "--tenant", "shop")
    assert rotated["secret"] != made["secret"]
    (listed,) = run("list")
    assert "secret" not in json.dumps(listed).replace("signing_secrets", "")
    assert (listed["enabled"], listed["signing_secrets"]) == (True, 2)
    assert run("rotate", "--tenant", "shop", "--overlap", "0")["signing_secrets"] == 1
    assert run("remove", "--tenant", "shop") == {"tenant": "shop", "removed": True}
    assert run("list") == []


def test_for_people(redis: Redis) -> None:
    """Without --json the secret is alone on stdout, and tables say the same."""
    made = invoke("set", URL)
    assert made.stdout.startswith("whsec_")
    assert made.stdout.count("\n") == 1
    assert "secret stays" in invoke("set", URL).stdout
    assert URL in invoke("list").stdout
    assert invoke("deliveries").stdout == "no deliveries\n"
    end(redis, new_job("resp_1"))
    assert "resp_1" in invoke("deliveries").stdout
    (delivery,) = run("deliveries")
    assert "was waiting" in invoke("redeliver", delivery["id"]).stdout


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example",
        "shop.example/events",
        "https://",
        "https://a:b@shop.example",
        "http://a b",
    ],
)
def test_wrong_addresses(url: str) -> None:
    """An address that can't be called is refused at once, as wrong usage."""
    done = CliRunner().invoke(webhooks, ["set", url])
    assert done.exit_code == 2
    assert "an address" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("rotate",), ("remove",), ("redeliver", "evt_none")], ids=lambda one: one[0]
)
def test_what_is_not_there(arguments: tuple[str, ...]) -> None:
    """An unknown webhook or delivery can't be rotated, removed or sent again: exit code 1."""
    for more in ((), ("--json",)):
        assert invoke(*arguments, *more).return_value == 1


def test_log_of_one_tenant(redis: Redis) -> None:
    """The log shows a tenant its own alone, those to come first, with all that is known."""
    for tenant in ("shop", "bank"):
        set_webhook(redis, tenant, URL)
        end(redis, new_job(f"job-of-{tenant}", tenant=tenant))
    (delivery,) = run("deliveries", "--tenant", "shop")
    assert delivery["id"].startswith("evt_")
    known = {name: delivery[name] for name in ("tenant", "event", "subject", "state", "attempts")}
    assert known == {
        "tenant": "shop",
        "event": "response.cancelled",
        "subject": "job-of-shop",
        "state": "waiting",
        "attempts": 0,
    }
    assert (delivery["tried_at"], delivery["status"], delivery["fault"]) == (None, None, None)


def test_all_that_was_given_up(redis: Redis) -> None:
    """One command sends a tenant's abandoned events again; nothing else, and of no other."""
    for tenant in ("shop", "bank"):
        set_webhook(redis, tenant, URL)
        for number in range(3):
            end(redis, new_job(f"{tenant}-{number}", tenant=tenant))
    ledger = Ledger(redis)
    states = {"shop-0": "failed", "shop-1": "delivered", "shop-2": "failed"}
    while hints := ledger.dispatch().deliveries:  # a tenant has only its share of them at a time
        for hint in hints:
            claim = ledger.claim_delivery(hint.id, "token", 20)
            assert isinstance(claim, DeliveryClaim)
            state = DeliveryState(states.get(claim.subject, "failed"))
            ledger.finish_delivery(claim, DeliveryEnding(state))
    told = run("redeliver", "--failed", "--tenant", "shop")
    assert [one["state_before"] for one in told] == ["failed"] * 2
    left = {one["subject"]: one["state"] for one in run("deliveries", "--tenant", "shop")}
    assert left == {"shop-0": "waiting", "shop-1": "delivered", "shop-2": "waiting"}
    assert {one["state"] for one in run("deliveries", "--tenant", "bank")} == {"failed"}
    assert run("redeliver", "--failed", "--tenant", "shop") == []
    assert (
        "no deliveries that were given up"
        in invoke("redeliver", "--failed", "--tenant", "shop").stdout
    )
    for wrong in ((), ("evt_1", "--failed")):
        assert isinstance(invoke("redeliver", *wrong).exception, click.UsageError)


async def test_a_batch_ends_once(redis: Redis, redis_url: str) -> None:
    """However often, and by any gateway, the end of a batch is written, it is sent once."""
    set_webhook(redis, "shop", URL)
    set_webhook(redis, "other", URL, ("batch.completed",))
    async with connect_async(redis_url, "tests") as connection:
        book = BatchBook(connection, AsyncLedger(connection), ttl=60)
        for tenant in ("shop", "other"):
            batch = Batch(
                id=f"batch_{tenant}", tenant=tenant, endpoint="/v1/responses",
                input_file_id="file_1", completion_window="24h",
                created_at=1, expires_at=2, lines=1,
            )  # fmt: skip
            await book.open(batch)
            assert not await book.close(batch, "expired")  # jobs may still come
            await book.seal(batch.id)
            for _ in range(2):
                assert await book.close(batch, "expired")
        assert await book.unfinished() == []
        stored = await book.get("batch_shop")
        assert stored is not None
        assert stored.status == "expired"
        assert stored.expired_at is not None
    told = [(one.event, one.subject) for one in latest(redis, "shop", 10)]
    assert told == [("batch.expired", "batch_shop")]
    assert latest(redis, "other", 10) == []
    assert redis.exists(names.DELIVERIES_OUT) == 0
