"""Start and end of a worker process, by Celery's signals."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import structlog
from celery import signals

from visionq.pricing.models import warning_for
from visionq.settings import ConfigurationError, load_settings
from worker.logs import configure_logs, make_reporter
from worker.runtime import Runtime, build_runtime

log = structlog.get_logger(__name__)

#: Seconds within which a second SIGTERM is the first once more, sent by another hand.
_SAME_REQUEST: Final = 2.0
#: Seconds after which a process that was asked to end, and works on nothing, ends at once.
_IDLE_PATIENCE: Final = 15.0


class _Process:
    """The runtime of this process, from Celery's start to its end."""

    runtime: Runtime | None = None
    #: When it was asked to end, on the monotonic clock.
    asked_at: float | None = None
    asked: ClassVar[threading.Event] = threading.Event()


def runtime() -> Runtime:
    """Return the dependencies of this worker process."""
    if _Process.runtime is None:
        raise RuntimeError("no worker runs in this process")
    return _Process.runtime


def connect() -> None:
    """Follow Celery's signals. Weak references to these functions would not outlive the call."""
    signals.setup_logging.connect(_set_up_logging, weak=False)
    signals.celeryd_after_setup.connect(_build, weak=False)
    signals.worker_ready.connect(_start, weak=False)
    signals.worker_shutting_down.connect(_drain, weak=False)
    signals.worker_shutdown.connect(_stop, weak=False)


def _set_up_logging(**_: Any) -> None:  # noqa: ANN401  # Celery's signals send what they please
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level, make_reporter(settings))


def _build(instance: Any, **_: Any) -> None:  # noqa: ANN401  # likewise; a `celery.apps.worker.Worker`
    queues = tuple(instance.app.amqp.queues.consume_from)
    try:
        _Process.runtime = build_runtime(instance.app, instance.concurrency, queues)
    except ConfigurationError as error:
        log.error("worker.cannot_start", error=str(error))  # noqa: TRY400  # people need no traceback
        raise SystemExit(2) from None
    except Exception as error:
        # Celery would log it and go on, and every message would fail in a half-built worker.
        log.exception("worker.cannot_start")
        raise SystemExit(1) from error
    # Before Redis is reached: health checks must not end a worker that waits for it.
    _Process.runtime.reporter.start()


def _start(**_: Any) -> None:  # noqa: ANN401  # likewise
    process = runtime()
    warning = warning_for(process.dependencies.settings.default_model, datetime.now(UTC).date())
    if warning:
        log.warning("model.ends", warning=warning)
    process.start()
    # What is loaded by now stays. To look through it for garbage blocks the loop for 100 ms.
    gc.freeze()
    threading.Thread(target=_end_idle, name="visionq-end", daemon=True).start()
    # Celery's own handler wants to cancel tasks, which threads can't do, and then waits for them.
    signal.signal(signal.SIGQUIT, lambda *_: _end_now())


def _drain(sig: str = "", **_: Any) -> None:  # noqa: ANN401  # likewise
    # Runs inside the signal handler: it may set flags, and no more.
    now = time.monotonic()
    if _Process.asked_at is None:
        _Process.asked_at = now
        _Process.asked.set()
    elif sig == "SIGTERM" and now - _Process.asked_at > _SAME_REQUEST:
        _end_now()
    if _Process.runtime is not None:
        _Process.runtime.drain()


def _end_idle() -> None:
    """End an idle process that should have ended, but can't without Redis."""
    _Process.asked.wait()
    time.sleep(_IDLE_PATIENCE)
    while len(runtime().leases):
        time.sleep(1)
    os.write(2, b"worker: ended without taking leave of Redis, which does not answer\n")
    os._exit(0)


def _end_now() -> None:
    """End without waiting for running jobs: their leases lapse, and others take over.

    A job whose answer can't be written because Redis is away for good would hold the process for
    ever; its call is then one of unknown billing.
    """
    os.write(2, b"worker: ended at once; jobs that ran will be taken over\n")
    os._exit(1)


def _stop(**_: Any) -> None:  # noqa: ANN401  # likewise
    # Celery sends this after the pool has drained.
    if _Process.runtime is not None:
        _Process.runtime.stop()
