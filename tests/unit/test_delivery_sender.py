"""What keeps a delivery from being made is written down, and never retried at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from redis import exceptions as redis_errors

from tests.support.worker_parts import NOW, Clock, ScriptedLedger
from visionq.errors import QueueUnavailable
from visionq.ledger import DeliveryClaim, DeliveryState
from visionq.names import CANVAS_EVENT
from worker.delivery_sender import DeliverySender

if TYPE_CHECKING:
    from visionq.ledger import DeliveryEnding

CLAIM = DeliveryClaim(
    "evt_1",
    "t",
    now=NOW,
    tenant="default",
    event=CANVAS_EVENT,
    subject="job-1",
    created=NOW,
    first_attempt=NOW,
    attempts=0,
    is_enabled=True,
)


def delivered(
    failure: Exception | None = None, claim: DeliveryClaim | Exception | None = CLAIM
) -> tuple[DeliveryEnding | None, list[Any]]:
    """Return what comes of one attempt, and what the ledger got of it."""
    ledger: Any = ScriptedLedger({"claim_delivery": [claim], "finish_delivery": [True]})

    def send_canvas(job_id: str) -> None:
        assert job_id == CLAIM.subject
        if failure is not None:
            raise failure

    sender = DeliverySender(ledger, cast("Any", None), send_canvas, lambda: 0.5, Clock().sleep)
    return sender.deliver(CLAIM.id), [ending for _, ending in ledger.said("finish_delivery")]


def test_a_canvas_is_sent() -> None:
    """A canvas that was sent is delivered."""
    ending, written = delivered()
    assert ending is not None
    assert ending.state is DeliveryState.DELIVERED
    assert written == [ending]


@pytest.mark.parametrize(
    ("failure", "fault"),
    [
        (QueueUnavailable("the broker is away"), "the broker is away"),
        (ZeroDivisionError("hush"), "a fault of the sender"),
    ],
)
def test_what_fails_waits(failure: Exception, fault: str) -> None:
    """A broker that is away, or a defect of our own, costs an attempt, and a pause before more."""
    ending, written = delivered(failure)
    assert ending is not None
    assert (ending.state, ending.fault) == (DeliveryState.WAITING, fault)
    assert ending.delay > 2
    assert written == [ending]


@pytest.mark.parametrize("claim", [None, redis_errors.ConnectionError("away")])
def test_what_is_not_claimed_is_not_sent(claim: Exception | None) -> None:
    """Another's delivery, or one that Redis does not give, is left: it is hinted at again."""
    assert delivered(ZeroDivisionError(), claim) == (None, [])
