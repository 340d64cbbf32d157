"""Hints: Celery messages that say no more than "look at the job whose id is this task's id".

All hints of a kind are one message but for a few words: it is made once, and those of one look go
out together. Celery's `send_task` makes each anew, at five times the price where many are due.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # stubs lack it
from kombu.serialization import dumps

from visionq.names import QUEUE_WEBHOOKS, TASK_ANALYZE, TASK_DELIVER, TASK_RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery import Celery

    from visionq.ledger import DeliveryHint, Hint

#: The exchange that takes a message to the queue which its routing key names.
_DEFAULT_EXCHANGE: Final = ""


@dataclass(frozen=True)
class _Template:
    """What all hints of a kind have in common."""

    headers: Mapping[str, Any]
    body: str
    content_type: str
    content_encoding: str


class HintPublisher:
    """Publishes hints through one producer of the app."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish(self, hints: Sequence[Hint]) -> None:
        """Send each hint to its queue; one that gets lost is sent again by the ledger.

        Raises:
            OperationalError: the broker can't be reached.
        """
        with self._producer({hint.queue for hint in hints}) as producer:
            for hint in hints:
                shown = summary(hint.tenant, hint.model, hint.pictures)
                _send(producer, self._run, hint.id, hint.queue, shown)

    def publish_deliveries(self, hints: Sequence[DeliveryHint]) -> None:
        """Send each event that a webhook is to be told of to the workers, in the same way."""
        with self._producer({QUEUE_WEBHOOKS}) as producer:
            for hint in hints:
                shown = f"tenant={hint.tenant} event={hint.event}"
                _send(producer, self._deliver, hint.id, QUEUE_WEBHOOKS, shown)

    @contextmanager
    def _producer(self, queues: set[str]) -> Iterator[Any]:
        """Give a producer that sends what it was given when the block ends."""
        acquired: Any = self._app.producer_pool.acquire(block=True)  # stubs know nothing of batches
        with acquired as producer:
            connection = producer.connection
            passing = (
                BatchPublishError,
                *connection.recoverable_connection_errors,
                *connection.recoverable_channel_errors,
            )
            try:
                for queue in queues:
                    producer.maybe_declare(self._app.amqp.queues[queue])
                with producer.batch():
                    yield producer
            except passing as error:
                raise OperationalError(str(error)) from error

    @cached_property
    def _run(self) -> _Template:
        # What Flower shows: the task that callers know, and no content.
        return _template(self._app, TASK_RUN, shadow=TASK_ANALYZE)

    @cached_property
    def _deliver(self) -> _Template:
        return _template(self._app, TASK_DELIVER)


def _template(app: Celery, task: str, shadow: str | None = None) -> _Template:
    message = app.amqp.as_task_v2("", task, shadow=shadow, ignore_result=True, kwargsrepr="{}")
    content_type, content_encoding, body = dumps(message.body, "json")
    return _Template(message.headers, body, content_type, content_encoding)


def _send(producer: Any, template: _Template, task_id: str, queue: str, shown: str) -> None:  # noqa: ANN401  # as above
    producer.publish(
        template.body,
        routing_key=queue,
        exchange=_DEFAULT_EXCHANGE,
        content_type=template.content_type,
        content_encoding=template.content_encoding,
        headers={**template.headers, "id": task_id, "root_id": task_id, "argsrepr": shown},
        correlation_id=task_id,
    )


def summary(tenant: str, model: str, pictures: int) -> str:
    """Return what people see of a job where its content must not be seen."""
    return f"tenant={tenant} model={model} pictures={pictures}"
