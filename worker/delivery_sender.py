"""Deliveries of events: to webhooks, and of Celery's canvases.

Events for webhooks are signed as Standard Webhooks, so that OpenAI's SDKs can verify them.

https://www.standardwebhooks.com: any 2xx is taken for an answer, 410 means "never again", and
everything else is tried again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

import standardwebhooks
import structlog

from visionq.errors import DownloadFailed, QueueUnavailable, UnsafeUrl
from visionq.ledger import DeliveryClaim, DeliveryEnding, DeliveryState
from visionq.names import CANVAS_EVENT
from visionq.redis_connection import TRANSIENT_ERRORS
from visionq.webhooks import Webhook, find_webhook
from worker.decision import backoff
from worker.fetch import Fetcher, FetchPolicy
from worker.redis_retry import retry_until_redis_returns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from visionq.ledger import Ledger
    from visionq.settings import Settings
    from worker.fetch.fetcher import DownloadResponse

log = structlog.get_logger(__name__)

#: Seconds for one attempt.
_PATIENCE: Final = 10.0
#: Seconds that a worker has an event to itself: an attempt, and the moment to write it down.
_LEASE: Final = 20.0
#: Seconds from the first attempt in which an event is tried again.
GIVE_UP_AFTER: Final = 24 * 3600.0
#: Seconds between attempts where no stranger answers.
_PAUSE: Final = 3.0
#: Seconds: as for jobs, but slower.
_BACKOFF_BASE: Final = 5.0
_BACKOFF_CAP: Final = 7200.0


@dataclass(frozen=True)
class DeliverySender:
    """Posts events to webhooks, and sends canvases; shared by all threads."""

    ledger: Ledger
    fetcher: Fetcher
    #: Sends the Celery canvas of a job that ended; raises `QueueUnavailable` to be called again.
    send_canvas: Callable[[str], None]
    random: Callable[[], float]
    sleep: Callable[[float], None]

    def deliver(self, delivery_id: str) -> DeliveryEnding | None:
        """Make one attempt and record the outcome; None if another worker has it."""
        try:
            claim = self.ledger.claim_delivery(delivery_id, secrets.token_hex(8), _LEASE)
            if claim is None:
                return None
            ending = self._attempt(claim)
        except TRANSIENT_ERRORS as error:  # it is hinted at again
            log.warning("delivery.redis_failed", delivery=delivery_id, error=str(error))
            return None
        done = retry_until_redis_returns(
            lambda: self.ledger.finish_delivery(claim, ending), self.sleep
        )
        log.info(
            "delivery.tried",
            state=ending.state.value,
            delivery=claim.id,
            tenant=claim.tenant,
            webhook_event=claim.event,
            status=ending.status,
            fault=ending.fault,
        )
        return ending if done else None

    def _attempt(self, claim: DeliveryClaim) -> DeliveryEnding:
        try:
            if claim.event == CANVAS_EVENT:
                self.send_canvas(claim.subject)
                return DeliveryEnding(DeliveryState.DELIVERED)
            return self._tell(claim)
        except UnsafeUrl as error:
            # The fetcher's advice behind the semicolon is about pictures.
            fault = f"{error.code}: {error.message.partition(';')[0]}"
            return DeliveryEnding(DeliveryState.FAILED, fault=fault)
        except DownloadFailed as error:
            return self._again(claim, None, error.message)
        except QueueUnavailable as error:
            return replace(self._again(claim, None, error.message), delay=_PAUSE)
        except TRANSIENT_ERRORS:
            raise
        except Exception:  # our own defect: it must not be retried at once, forever
            log.exception("delivery.defect", delivery=claim.id)
            return self._again(claim, None, "a fault of the sender")

    def _tell(self, claim: DeliveryClaim) -> DeliveryEnding:
        webhook = find_webhook(self.ledger.redis, claim.tenant)
        if webhook is None or not claim.is_enabled:
            return DeliveryEnding(DeliveryState.FAILED, fault="the webhook is gone")
        return self._answered(claim, webhook, self._send(claim, webhook))

    def _answered(
        self, claim: DeliveryClaim, webhook: Webhook, answer: DownloadResponse
    ) -> DeliveryEnding:
        status = answer.status
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return DeliveryEnding(DeliveryState.DELIVERED, status=status)
        if status == HTTPStatus.GONE:
            return DeliveryEnding(
                DeliveryState.FAILED, status=status, fault="answered 410", gone=webhook.id
            )
        return self._again(claim, status, f"answered {status}", least=answer.retry_after or 0)

    def _send(self, claim: DeliveryClaim, webhook: Webhook) -> DownloadResponse:
        body = claim.body()
        headers = signed_headers(claim.id, body, webhook, datetime.now(UTC))
        return self.fetcher.post(
            webhook.url, name="webhook", body=body, headers=headers, tenant=claim.tenant
        )

    def _again(
        self, claim: DeliveryClaim, status: int | None, fault: str, least: float = 0
    ) -> DeliveryEnding:
        delay = backoff(claim.attempts + 1, self.random, _BACKOFF_BASE, _BACKOFF_CAP)
        delay = max(delay, least)
        is_late = claim.now + delay - claim.first_attempt > GIVE_UP_AFTER
        state = DeliveryState.FAILED if is_late else DeliveryState.WAITING
        return DeliveryEnding(state, delay, status, fault)


def signed_headers(
    delivery_id: str, body: bytes, webhook: Webhook, now: datetime
) -> Mapping[str, str]:
    """Return the headers of one attempt: a signature by each secret that counts."""
    signatures = (
        standardwebhooks.Webhook(secret).sign(delivery_id, now, body.decode())
        for secret in webhook.secrets_at(now)
    )
    return {
        "content-type": "application/json",
        "accept": "*/*",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def make_delivery_sender(
    settings: Settings,
    ledger: Ledger,
    send_canvas: Callable[[str], None],
    random: Callable[[], float],
    sleep: Callable[[float], None],
) -> DeliverySender:
    """Return a sender, guarded like downloads but without their list of allowed hosts."""
    policy = FetchPolicy(
        allow_private=settings.allow_private_urls,
        denied_hosts=settings.denied_hosts,
        trusted_ranges=tuple(map(ip_network, settings.trusted_ranges)),
        user_agent=settings.user_agent,
        read_timeout=_PATIENCE,
        total_timeout=_PATIENCE,
        max_connections_per_host=settings.max_connections_per_host,
        longest_wait=_BACKOFF_CAP,
    )
    return DeliverySender(ledger, Fetcher(policy), send_canvas, random, sleep)
