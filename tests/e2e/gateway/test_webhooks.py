"""Webhooks of real workers and a real gateway, checked as a customer's service would."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.fleet import Fleet, running_fleet
from tests.support.gateway import asked, gateway_and_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.warm_processes import WarmProcess
from tests.support.webhook_receiver import Receiver, receiving
from visionq.names import DELIVERIES, DELIVERIES_OUT, QUEUE_BULK, QUEUE_INTAKE, QUEUE_INTERACTIVE
from visionq.webhooks import set_webhook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway import Gateway

#: What is needed within the hour is asked at once; OpenAI's own type knows `24h` alone.
SOON: Any = "1h"
ALL_BUT_WEBHOOKS = f"{QUEUE_INTERACTIVE},{QUEUE_BULK},{QUEUE_INTAKE}"


def subjects(receiver: Receiver) -> list[str]:
    return [document["data"]["id"] for document in receiver.documents()]


def test_responses_and_batches(tmp_path: Path) -> None:
    """A webhook made by CLI gets responses and batches, once each; OpenAI's SDK verifies."""
    with receiving() as receiver, gateway_and_fleet(tmp_path) as (gateway, fleet):
        secret = fleet.read("webhooks", "set", receiver.url)["secret"]
        assert "secret" not in fleet.read("webhooks", "set", receiver.url)
        receiver.next_statuses.append(503)
        expected = _use(gateway)
        until(lambda: {*subjects(receiver)} == {*expected}, 60, lambda: str(receiver.documents()))
        log: Any = []

        def all_delivered() -> bool:
            log[:] = fleet.read("webhooks", "deliveries")
            return {one["state"] for one in log} == {"delivered"}

        until(all_delivered, 30, lambda: str(log))
        with gateway.openai(webhook_secret=secret) as client:
            for headers, body in receiver.received:
                event = client.webhooks.unwrap(body, headers)
                assert expected[event.data.id] == event.type  # type: ignore[union-attr]  # all of visionq's have data
        assert len(log) == len(expected)
        assert sum(one["attempts"] for one in log) == len(expected) + 1
        seen = len(receiver.received)
        assert seen == len(expected) + 1
        fleet.read("webhooks", "redeliver", log[0]["id"])
        until(lambda: len(receiver.received) == seen + 1, 20, "the redelivery")
        assert fleet.read("webhooks", "remove") == {"tenant": "default", "removed": True}


def _use(gateway: Gateway) -> dict[str, str]:
    """Have jobs and batches end; returns the event expected for each."""
    line = {"method": "POST", "url": "/v1/responses"}
    bodies = [{"input": asked(number), "model": "gpt-6-luna"} for number in range(3)]
    rows = [json.dumps({**line, "custom_id": str(n), "body": b}) for n, b in enumerate(bodies)]
    with gateway.openai() as client:
        done = client.responses.create(input=asked(9), model="gpt-6-luna", background=True)
        file = client.files.create(file=("a.jsonl", "\n".join(rows).encode()), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/responses", completion_window=SOON
        )
        until(lambda: client.batches.retrieve(batch.id).status == "completed", 60, "the batch")
        return {done.id: "response.completed", batch.id: "batch.completed"}


def test_death_between_end_and_delivery(tmp_path: Path) -> None:
    """Workers killed after a job's end, and while they tell of it, keep no event from arriving."""
    with receiving() as receiver, running_fleet(tmp_path, workers=0) as fleet:
        set_webhook(fleet.redis, "default", receiver.url)
        _start(fleet, "--queues", ALL_BUT_WEBHOOKS)
        job = fleet.client.submit(prompt="?", images=[picture(1)])
        fleet.client.wait(job, timeout=60)
        fleet.workers[-1].kill()
        assert receiver.received == []
        receiver.delay = 8
        _start(fleet)
        until(lambda: receiver.at_once == 1, 60, "the first attempt")
        fleet.workers[-1].kill()
        receiver.delay = 0
        _start(fleet)
        until(lambda: len(receiver.received) > 1, 60, "the second attempt")
        redis = fleet.redis
        until(lambda: redis.zcard(DELIVERIES) == 1, 20, "the delivery to be written down")
        assert set(subjects(receiver)) == {job.id}
        assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
        assert redis.exists(DELIVERIES_OUT) == 0


def _start(fleet: Fleet, *options: str) -> None:
    before = set(fleet.registered())
    command = ["worker", "--name", f"visionq-worker-{len(fleet.workers)}", "--concurrency", "4"]
    log = fleet.logs / f"worker-{len(fleet.workers)}.log"
    fleet.workers.append(WarmProcess([*command, *options], fleet.environment(), log))
    until(lambda: bool(set(fleet.registered()) - before), 60, "the worker to register")
