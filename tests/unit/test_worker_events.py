"""Events of tasks go out together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kombu.utils.imports import symbol_by_name

from worker.celery.app import app
from worker.celery.consumer import Consumer, GatheredEvents


@dataclass
class Events:
    """Counts how often what was gathered is sent."""

    flushed: int = 0

    def flush(self) -> None:
        self.flushed += 1


@dataclass
class Timer:
    """Keeps what it is to call."""

    calls: list[Any] = field(default_factory=list)
    cancelled: int = 0

    def call_repeatedly(self, _seconds: float, function: Any) -> Timer:
        self.calls.append(function)
        return self

    def cancel(self) -> None:
        self.cancelled += 1


def _consumer() -> Any:
    consumer: Any = object.__new__(Consumer)
    consumer.event_dispatcher, consumer.timer = Events(), Timer()
    return consumer


def test_many_events_are_sent_at_once() -> None:
    """Events of one moment go out in one message, and nothing where there are none."""
    consumer = _consumer()
    GatheredEvents(consumer).start(consumer)
    for _ in range(3):
        consumer.on_send_event_buffered()
    assert consumer.event_dispatcher.flushed == 0
    for _ in range(2):
        consumer.timer.calls[0]()
    assert consumer.event_dispatcher.flushed == 1


def test_the_last_events_are_sent_at_the_end() -> None:
    """A worker that stops sends what it has gathered, and its timer ends."""
    consumer = _consumer()
    step = GatheredEvents(consumer)
    step.start(consumer)
    consumer.on_send_event_buffered()
    step.stop(consumer)
    assert (consumer.event_dispatcher.flushed, consumer.timer.cancelled) == (1, 1)


def test_every_step_of_the_consumer_exists() -> None:
    """A worker finds each step that the app adds to its consumer."""
    steps = app.steps["consumer"]
    assert {symbol_by_name(step).__module__ for step in steps} == {"worker.celery.consumer"}
