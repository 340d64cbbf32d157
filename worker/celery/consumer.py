"""Celery's consumer; keeps messages that it can't process instead of dropping them or dying."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.common import ignore_errors
from kombu.exceptions import ContentDisallowed

from visionq.dead_letters import Reason
from visionq.errors import InvalidJob
from visionq.names import HINT_TASKS, QUEUE_CELERY_DEFAULT, QUEUE_INTAKE
from worker.celery.dead_letters import as_it_came, keep_dead_letter
from worker.celery.lifecycle import runtime
from worker.celery.transport import Channel
from worker.threads.watchdog import CONSUMER

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.message import Message

#: What Celery 5.7 stumbles over in a message whose fields are not what it expects.
_STUMBLES: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
#: Seconds for which events are gathered: each message with events costs as much as a command.
_EVENTS_REST: Final = 0.1
_logger = get_logger(__name__)


class SignsOfLife(bootsteps.StartStopStep):
    """Shows that the loop which receives messages comes round; while it reconnects, nothing is due.

    The timer belongs to that loop.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **_: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(parent)
        self._timer: Any = None

    def start(self, parent: Any) -> None:  # noqa: ANN401  # likewise
        """Begin: the broker has been reached."""
        progress = runtime().progress
        progress.beat(CONSUMER)
        self._timer = parent.timer.call_repeatedly(1.0, progress.beat, (CONSUMER,))

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002  # likewise
        """End: the connection is lost, or the worker drains."""
        if self._timer is not None:
            self._timer.cancel()
        runtime().progress.rest(CONSUMER)

    terminate = stop


class GatheredEvents(bootsteps.StartStopStep):
    """Sends the events of tasks a few times a second, those of many tasks in one message."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **_: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(parent)
        self._timer: Any = None

    def start(self, parent: Any) -> None:  # noqa: ANN401  # likewise
        """Begin: the broker has been reached."""
        # Only this thread sends them: a job must not wait for the broker.
        parent.event_dispatcher.buffer_limit = math.inf
        self._timer = parent.timer.call_repeatedly(_EVENTS_REST, parent.send_events)

    def stop(self, parent: Any) -> None:  # noqa: ANN401  # likewise
        """Send the remaining events."""
        if self._timer is not None:
            self._timer.cancel()
        ignore_errors(parent, parent.send_events)

    terminate = stop


class Consumer(CeleryConsumer):
    """Keeps every message that no task can be made of; the next one is then looked at."""

    _has_events = False

    def on_send_event_buffered(self) -> Any:  # noqa: ANN401  # as the stubs have it
        """Leave the event to `GatheredEvents`; Celery would send each by itself."""
        self._has_events = True

    def send_events(self) -> None:
        """Send the events that were gathered."""
        if self._has_events:
            self._has_events = False
            self._flush_events()  # type: ignore[attr-defined]  # stubs lack it

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Message], Any]:  # noqa: ANN401  # Celery's signature
        """Check a message before Celery does, so that its errors end no worker."""
        handle = super().create_task_handler(*args, **options)
        channel = self.task_consumer.channel  # type: ignore[attr-defined]  # stubs lack it
        if isinstance(channel, Channel):
            channel.free_places = self.free_places

        def handle_any(message: Message) -> Any:  # noqa: ANN401  # likewise
            fault = _fault_of(message)
            if fault:
                return self._keep_dead_letter(message, Reason.WRONG_ARGUMENTS, fault)
            try:
                return handle(message)
            except (*_STUMBLES, RecursionError) as error:
                return self._keep_dead_letter(message, Reason.WRONG_ARGUMENTS, type(error).__name__)

        return handle_any

    def free_places(self) -> int:
        """Return how many more tasks the pool takes."""
        return int(self.pool.num_processes) - len(state.reserved_requests)

    def on_unknown_message(self, body: object, message: Message) -> None:  # noqa: ARG002  # Celery's signature
        """Keep a message that names no task."""
        self._keep_dead_letter(message, Reason.NO_TASK, "no headers that name a task")

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002  # likewise
        """Keep a message for an unknown task; leave a queue that other programs use."""
        if message.delivery_info.get("routing_key") == QUEUE_CELERY_DEFAULT:
            self._leave_default_queue(message)
        else:
            detail = "workers have no task of this name"
            self._keep_dead_letter(message, Reason.UNKNOWN_TASK, detail)

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002  # likewise
        """Keep a message whose arguments are none, or whose form is not taken."""
        self._keep_unreadable(message, Reason.WRONG_ARGUMENTS, exc)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Keep a message whose body can't be read."""
        self._keep_unreadable(message, Reason.BROKEN_BODY, exc)

    def _keep_unreadable(self, message: Message, reason: Reason, error: Exception) -> None:
        detail = type(error).__name__
        if isinstance(error, ContentDisallowed):
            reason, detail = Reason.CONTENT_REFUSED, f"{message.content_type}; only JSON is read"
        self._keep_dead_letter(message, reason, detail)

    def _leave_default_queue(self, message: Message) -> None:
        """Requeue another program's message, and stop consuming its queue."""
        _logger.error(
            "The queue %r holds tasks of another program and is left to it;"
            " unset VISIONQ_CONSUME_DEFAULT_QUEUE, and send jobs to %r",
            QUEUE_CELERY_DEFAULT,
            QUEUE_INTAKE,
        )
        self.cancel_task_queue(QUEUE_CELERY_DEFAULT)
        message.requeue()

    def _keep_dead_letter(self, message: Message, reason: Reason, detail: str) -> None:
        letter = as_it_came(message)
        if not keep_dead_letter(letter, reason, detail):
            return  # not acknowledged: the broker brings it back
        message.ack_log_error(_logger, self.connection_errors)  # type: ignore[attr-defined]  # stubs lack it
        events = self.event_dispatcher  # type: ignore[attr-defined]  # likewise
        if letter.id and events:
            failure = f"InvalidJob('{InvalidJob.code}: {reason}')"
            events.send("task-failed", uuid=letter.id, exception=failure)


def _fault_of(message: Message) -> str | None:
    """Return the defect of a message that Celery would notice too late."""
    headers = message.headers
    if not isinstance(headers, dict) or "task" not in headers:
        return None  # Celery knows what to do with those
    if not isinstance(headers.get("id"), str):
        return "headers without the id of a task"
    try:
        body, is_hint = message.payload, headers["task"] in HINT_TASKS
    except Exception:  # noqa: BLE001  # Celery tells it in the right place
        return None
    match body:
        case [list() as positional, dict() as named, None | dict()]:
            return "a hint takes no arguments" if is_hint and (positional or named) else None
        case {"args": _}:
            return None  # the first protocol, in a body of its own
    return "the body is not [arguments, keyword arguments, options]"
