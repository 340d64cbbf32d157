"""The Celery app through which Flower looks at the queues. It has no tasks and imports none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery

from visionq.celery_urls import celery_url

if TYPE_CHECKING:
    from visionq.settings import Settings


def create_app(settings: Settings, redis_url: str) -> Celery:
    """Return an app on the ledger's Redis, or on the broker that the settings name instead."""
    backend = celery_url(redis_url)
    broker = settings.broker_url.get_secret_value() if settings.broker_url else backend
    app = Celery("visionq", broker=broker, backend=backend, set_as_current=True)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "client_name": "visionq-flower",
            "health_check_interval": 10,
        },
    )
    return app
