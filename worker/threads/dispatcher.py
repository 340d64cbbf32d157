"""The dispatcher thread: wait for a wake-up, run `dispatch`, publish hints.

Scripts wake it through a list in Redis, which wakes one process of the fleet; a tick each second
covers lost wake-ups. A hint is a Celery message that says no more than "look at the job whose id is
this task's id". All hints of a kind share one message but for a few fields: it is made once, and
the hints of one dispatch go out together. Celery's `send_task` builds each message separately, at
five times the cost.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import structlog
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # stubs lack it
from kombu.serialization import dumps

from visionq.names import QUEUE_WEBHOOKS, TASK_ANALYZE, TASK_DELIVER, TASK_RUN, WAKE
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.threads import BackgroundThread
from worker.threads.watchdog import DISPATCHER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery import Celery
    from redis import Redis

    from visionq.ledger import DeliveryHint, Hint, Ledger
    from worker.threads.watchdog import Progress

#: The exchange that takes a message to the queue which its routing key names.
_DEFAULT_EXCHANGE: Final = ""


@dataclass(frozen=True)
class _Template:
    """The common fields of all hints of a kind."""

    headers: Mapping[str, Any]
    body: str
    content_type: str
    content_encoding: str


class HintPublisher:
    """Publishes hints through one producer of the app."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        #: Queue → a hint as it lies there, to be filled in.
        self._forms: dict[str, str] = {}

    def publish(self, hints: Sequence[Hint]) -> None:
        """Send each hint to its queue; the ledger repeats lost ones.

        Raises:
            OperationalError: the broker can't be reached.
        """
        if not hints:
            return
        queues: dict[str, list[Hint]] = {}
        for hint in hints:
            queues.setdefault(hint.queue, []).append(hint)
        with self._producer(set(queues)) as producer:
            channel = producer.channel
            if hasattr(channel, "push"):
                for queue, its in queues.items():
                    form = self._form(channel, queue)
                    channel.push(queue, [_filled(form, hint) for hint in its])
                return
            for hint in hints:
                shown = summary(hint.tenant, hint.model, hint.pictures)
                _send(producer, self._run, hint.id, hint.queue, shown)

    def publish_deliveries(self, hints: Sequence[DeliveryHint]) -> None:
        """Send webhook events to the workers in the same way."""
        with self._producer({QUEUE_WEBHOOKS}) as producer:
            for hint in hints:
                shown = f"tenant={hint.tenant} event={hint.event}"
                _send(producer, self._deliver, hint.id, QUEUE_WEBHOOKS, shown)

    def _form(self, channel: Any, queue: str) -> str:  # noqa: ANN401  # ours, on Redis
        known = self._forms.get(queue)
        if known is None:
            template = self._run
            own = {"id": "@id@", "root_id": "@id@", "argsrepr": "@shown@"}
            form = channel.hint_form(
                queue,
                template.body,
                content_type=template.content_type,
                content_encoding=template.content_encoding,
                headers={**template.headers, **own},
                properties={"delivery_mode": 2, "correlation_id": "@id@"},
            )
            tag = json.loads(form)["properties"]["delivery_tag"]
            known = form.replace("%", "%%").replace(tag, "%(tag)s")
            known = known.replace("@id@", "%(id)s").replace("@shown@", "%(shown)s")
            self._forms[queue] = known
        return known

    @contextmanager
    def _producer(self, queues: set[str]) -> Iterator[Any]:
        """Yield a producer that sends its messages when the block ends."""
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


def _filled(form: str, hint: Hint) -> str:
    shown = summary(hint.tenant, hint.model, hint.pictures)
    return form % {"id": _in_json(hint.id), "shown": _in_json(shown), "tag": uuid4()}


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def summary(tenant: str, model: str, pictures: int) -> str:
    """Return the public description of a job, without its content."""
    return f"tenant={tenant} model={model} pictures={pictures}"


log = structlog.get_logger(__name__)

_TICK = 1.0
#: The tick of a process that finds others to be quicker; short enough to replace them.
_TICK_BEHIND = 1.8
#: A tick does nothing when some process of the fleet has just looked.
_DEBOUNCE = 0.9
_PAUSE_AFTER_FAILURE = 0.5
#: Between two looks of a process.
_LEAST_PAUSE = 0.006


class Dispatcher(BackgroundThread):
    """Moves jobs from their lanes to the workers; the fleet goes on when this one stops."""

    def __init__(
        self,
        redis: Redis,
        ledger: Ledger,
        publisher: HintPublisher,
        progress: Progress | None = None,
    ) -> None:
        super().__init__("visionq-dispatcher")
        self._redis = redis
        self._ledger = ledger
        self._publisher = publisher
        self._progress = progress
        self._tick = _TICK
        self._looked = 0.0

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._progress is not None:
                self._progress.beat(DISPATCHER)
            try:
                woken = self._redis.blpop([WAKE], timeout=self._tick)
                if self._stopped.is_set():
                    self._pass_on(woken)
                    return
                if woken:
                    # Under load many jobs end within a moment: one look serves them all.
                    self._stopped.wait(self._looked + _LEAST_PAUSE - time.monotonic())
                self._looked = time.monotonic()
                self.look(rest=0 if woken else _DEBOUNCE)
            except (*TRANSIENT_ERRORS, OperationalError) as error:
                log.warning("dispatch.failed", error=str(error))
                self._stopped.wait(_PAUSE_AFTER_FAILURE)
            except Exception:
                # The thread must live: without it nothing is dispatched from this process.
                log.exception("dispatch.failed")
                self._stopped.wait(_PAUSE_AFTER_FAILURE)

    def look(self, *, rest: float = 0) -> None:
        """Dispatch once."""
        found = self._ledger.dispatch(rest=rest)
        self._tick = _TICK_BEHIND if found.rested else _TICK
        self._publisher.publish(found.hints)
        if found.deliveries:
            self._publisher.publish_deliveries(found.deliveries)
        if found.expired:
            self._ledger.expire(found.expired)

    def _pass_on(self, woken: object) -> None:
        if woken:
            self._redis.lpush(WAKE, "1")
