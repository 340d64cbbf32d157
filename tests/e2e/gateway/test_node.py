"""OpenAI's official Node package, unmodified, with the gateway as its base URL."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

from producer.gateway.access import Scope
from tests.e2e.gateway.test_errors import NODE_REFUSALS, narrow_gateway
from tests.support.gateway import KEY, asked, run_node
from tests.support.pictures import data_url
from tests.support.waiting import until
from tests.support.webhook_receiver import receiving
from visionq.devstack.ports import free_port
from visionq.webhooks import remove_webhook, set_webhook

if TYPE_CHECKING:
    from openai import OpenAI

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

HERE = Path(__file__).parent


def test_node(gateway: Gateway, fleet: Fleet, node_package: Path, tmp_path: Path) -> None:
    """Responses, completions, batches, cancelling and each class of error work as in Node."""
    with narrow_gateway(gateway, fleet, tmp_path) as narrow:
        told: dict[str, Any] = run_node(
            node_package,
            HERE / "client.mjs",
            BASE_URL=f"{gateway.url}/v1",
            NARROW_URL=f"{narrow.url}/v1",
            NOBODY_URL=f"http://127.0.0.1:{free_port()}/v1",
            NARROW_KEY=narrow.new_key("narrow"),
            API_KEY=KEY,
            READ_KEY=gateway.new_key("default", [Scope.READ]),
            PICTURE=data_url(77),
        )
    assert told["background"] == ["queued", "completed"]
    assert "64x48" in told["text"]
    assert "64x48" in told["chat"]
    assert told["tier"] == "flex"
    assert told["streams"]["events"] == ["response.created", "response.completed"]
    assert all("64x48" in text for text in told["streams"]["texts"])
    assert told["streams"]["usage"] > 0
    assert told["cancelled"] in {"cancelled", "completed"}
    assert told["batch"] == {"total": 2, "completed": 1, "failed": 1}
    assert told["errors"] == {name: list(refusal) for name, refusal in NODE_REFUSALS.items()}


def test_webhooks_unwrap(client: OpenAI, fleet: Fleet, node_package: Path) -> None:
    """`webhooks.unwrap` takes what a worker has sent, and none that is changed, forged or old."""
    redis = fleet.redis
    with receiving() as receiver:
        webhook, _ = set_webhook(redis, "default", receiver.url)
        job = client.responses.create(model="gpt-6-luna", input=asked(78), background=True)
        until(lambda: bool(receiver.received), 30, "the delivery")
        remove_webhook(redis, "default")
    (headers, body), secret = receiver.received[0], webhook.secrets[0].value
    text = body.decode()
    forged = "whsec_" + base64.b64encode(b"guessed").decode()
    now = datetime.now(UTC)
    deliveries = [
        (text, headers),
        (text + " ", headers),
        (text, signed(text, headers, forged, now)),
        (text, signed(text, headers, secret, now - timedelta(hours=1))),
    ]
    told = run_node(
        node_package, HERE / "webhooks.mjs", SECRET=secret, DELIVERIES=json.dumps(deliveries)
    )
    assert told == [["response.completed", job.id], *["InvalidWebhookSignatureError"] * 3]


def signed(text: str, headers: dict[str, str], secret: str, sent: datetime) -> dict[str, str]:
    """Return the headers of the same event, signed by another secret or at another time."""
    return {
        **headers,
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(secret).sign(headers["webhook-id"], sent, text),
    }
