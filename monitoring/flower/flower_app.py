"""The Celery app through which Flower looks at the queues. It has no tasks and imports none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.app.control import Control

from monitoring.flower.flower_settings import CLIENT_NAME
from visionq.contract import TERMINAL
from visionq.ledger import Ledger, ledger_options
from visionq.redis_connection import connect
from visionq.redis_url import celery_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.settings import Settings


class CancellingControl(Control):
    """Turns a revoke into what its button means: the job is cancelled, in any state.

    Celery's own would have the workers drop the job's messages, while the ledger sends more.
    """

    def __init__(self, ledger: Ledger, app: Celery) -> None:
        super().__init__(app)
        self._ledger = ledger

    def revoke(self, task_id: str | Sequence[str], *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        """Cancel jobs; revoke tasks unknown to the ledger as Celery does."""
        ids = [task_id] if isinstance(task_id, str) else task_id
        with self.app.events.default_dispatcher(hostname=CLIENT_NAME) as events:
            for known_id, state in zip(ids, self._ledger.cancel(ids), strict=True):
                if state == "missing":
                    super().revoke(known_id, *args, **options)
                elif state not in TERMINAL:
                    events.send("task-revoked", uuid=known_id, terminated=False)


def create_app(settings: Settings, redis_url: str) -> Celery:
    """Return an app on the ledger's Redis, or on the broker of the settings.

    It has no result backend, so that Flower's API has no answers of jobs to give away.
    """
    broker = settings.broker_url.get_secret_value() if settings.broker_url else None
    ledger = Ledger(connect(redis_url, CLIENT_NAME), ledger_options(settings))
    app = Celery(
        "visionq",
        broker=broker or celery_url(redis_url),
        backend="disabled://",
        control=partial(CancellingControl, ledger),  # type: ignore[arg-type]  # anything to call
        set_as_current=True,
    )
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "client_name": CLIENT_NAME,
            "health_check_interval": 10,
        },
    )
    return app
