"""Hints: Celery messages that say no more than "look at the job whose id is this task's id"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionq.names import QUEUE_WEBHOOKS, TASK_ANALYZE, TASK_DELIVER, TASK_RUN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery import Celery

    from visionq.ledger import DeliveryHint, Hint


class HintPublisher:
    """Publishes hints through one producer of the app."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish(self, hints: Iterable[Hint]) -> None:
        """Send each hint to its queue; one that gets lost is sent again by the ledger."""
        with self._app.producer_pool.acquire(block=True) as producer:
            for hint in hints:
                self._app.send_task(
                    TASK_RUN,
                    task_id=hint.id,
                    queue=hint.queue,
                    producer=producer,
                    ignore_result=True,
                    # What Flower shows: the task that callers know, and no content.
                    shadow=TASK_ANALYZE,
                    argsrepr=summary(hint.tenant, hint.model, hint.pictures),
                    kwargsrepr="{}",
                )

    def publish_deliveries(self, hints: Iterable[DeliveryHint]) -> None:
        """Send each event that a webhook is to be told of to the workers, in the same way."""
        with self._app.producer_pool.acquire(block=True) as producer:
            for hint in hints:
                self._app.send_task(
                    TASK_DELIVER,
                    task_id=hint.id,
                    queue=QUEUE_WEBHOOKS,
                    producer=producer,
                    ignore_result=True,
                    argsrepr=f"tenant={hint.tenant} event={hint.event}",
                    kwargsrepr="{}",
                )


def summary(tenant: str, model: str, pictures: int) -> str:
    """Return what people see of a job where its content must not be seen."""
    return f"tenant={tenant} model={model} pictures={pictures}"
