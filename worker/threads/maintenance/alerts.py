"""Alerts without Prometheus: one signed POST for each thing that an operator should know.

Signed as Standard Webhooks are (https://www.standardwebhooks.com): the receiver checks
`webhook-id`, `webhook-timestamp` and `webhook-signature` against `VISIONQ_ALERT_SECRET`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import httpx2
import structlog
from standardwebhooks import Webhook

from worker.provider.client import BoundedClient

if TYPE_CHECKING:
    from visionq.settings import Settings

log = structlog.get_logger(__name__)

#: Seconds for one delivery.
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should know."""

    #: The same for the same event, so that a receiver can drop what it has seen.
    id: str
    #: `gate.closed`, `gate.reopening`, `gate.open`, `balance.low`, `budget.low`,
    #: `budget.exhausted`, `usage.drifted`, `usage.disbelieved`,
    #: `webhook.disabled`, `workers.vanished`, `model.ending`.
    type: str
    #: One line for a person: what happened, and what to do.
    message: str
    #: Seconds since the epoch.
    at: float


class AlertSender:
    """Posts alerts to the one address of the settings."""

    def __init__(self, url: str, secret: str, client: httpx2.Client | None = None) -> None:
        """`secret` is base64, with or without `whsec_` before it; empty: nothing is signed."""
        self._url = url
        self._webhook = Webhook(secret) if secret else None
        self._client = client or BoundedClient(
            total=_PATIENCE, timeout=_PATIENCE, follow_redirects=False
        )

    def send(self, alert: Alert) -> bool:
        """Return whether the receiver took it. The signature is dated when it is sent."""
        body = json.dumps(asdict(alert), ensure_ascii=False)
        headers = {"content-type": "application/json", "webhook-id": alert.id}
        if self._webhook is not None:
            moment = datetime.now(UTC)
            headers["webhook-timestamp"] = str(int(moment.timestamp()))
            headers["webhook-signature"] = self._webhook.sign(alert.id, moment, body)
        try:
            # What the receiver has to say is not read, hence `stream`.
            with self._client.stream(
                "POST", self._url, content=body.encode(), headers=headers
            ) as response:
                status = response.status_code
        except httpx2.HTTPError as error:
            log.warning("alert.failed", alert=alert.type, error=str(error) or type(error).__name__)
            return False
        if not (is_success := httpx2.codes.is_success(status)):
            log.warning("alert.refused", alert=alert.type, status=status)
        return is_success


def make_sender(settings: Settings) -> AlertSender | None:
    """Return a sender, or None where no address is set."""
    if settings.alert_url is None:
        return None
    secret = settings.alert_secret.get_secret_value() if settings.alert_secret else ""
    return AlertSender(settings.alert_url.get_secret_value(), secret)
