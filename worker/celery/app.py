"""The workers' Celery app, `worker.celery.app:app`, and its settings, each proven under faults.

The app reads the environment at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from visionq.redis_url import celery_url
from visionq.settings import ConfigurationError, load_settings
from worker.celery import lifecycle, transport

if TYPE_CHECKING:
    from visionq.settings import Settings

#: Seconds after which a message whose worker died while entering it in the ledger comes back.
_INTAKE_VISIBILITY = 60


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of the workers' Celery app."""
    if settings.redis_url is None:
        raise ConfigurationError("VISIONQ_REDIS_URL is not set: it names the Redis of the ledger")
    redis_url = celery_url(settings.redis_url.get_secret_value())
    broker = settings.broker_url.get_secret_value() if settings.broker_url else redis_url
    return {
        "broker_url": broker,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Redis at its memory limit must not end the worker.
        "broker_channel_error_retry": True,
        "broker_transport_options": _transport_options(broker),
        "result_backend": f"worker.celery.backend:Backend+{redis_url}",
        "result_backend_always_retry": True,
        "result_expires": settings.result_ttl,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "enable_utc": True,
        # Hints are acknowledged early: the ledger brings a lost one back, the broker need not.
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_enable_prefetch_count_reduction": False,
        "worker_consumer": "worker.celery.consumer:Consumer",
        "worker_pool": "worker.celery.pool:TaskPool",
        "worker_send_task_events": True,
        "task_publish_retry": False,
        "imports": ("worker.celery.tasks",),
    }


def _transport_options(broker: str) -> dict[str, Any]:
    if not broker.startswith("redis"):
        return {}
    # A local socket has no network to keep it alive through, and refuses the words for it.
    network = {"socket_connect_timeout": 3, "socket_keepalive": True}
    return {
        **({} if broker.startswith("redis+socket") else network),
        # Without these a publish to a stopped Redis hangs for as long as it is stopped.
        "socket_timeout": 10,
        "health_check_interval": 10,
        "retry_on_timeout": False,
        "visibility_timeout": _INTAKE_VISIBILITY,
        # An idle worker asks seldom: a message that comes ends the wait at once.
        "polling_interval": 5,
        "unacked_restore_interval": 15,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 15,
        "client_name": "visionq-worker",
    }


app = Celery("visionq")
app.add_defaults(lambda: celery_config(load_settings()))
app.steps["consumer"].update(
    {"worker.celery.consumer:SignsOfLife", "worker.celery.consumer:GatheredEvents"}
)
lifecycle.connect()
transport.register()
