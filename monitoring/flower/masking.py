"""Keep prompts, pictures and answers out of Flower: its pages, its API, its search, its file.

People see what workers say of a task, and nothing that a caller wrote.
"""

from __future__ import annotations

import ast
import re
from copy import copy
from typing import Any, Final

from flower.events import EventsState  # type: ignore[import-untyped]  # no annotations
from flower.inspector import Inspector  # type: ignore[import-untyped]  # likewise

from monitoring.flower.flower_settings import CLIENT_NAME
from visionq.redaction import read_brief

HIDDEN: Final = "(hidden)"
#: Seconds to wait for the one worker whose page is shown.
_INSPECT_TIMEOUT: Final = 8.0

#: What is kept of an event of a task; a caller's own additions are not.
_KEPT: Final = frozenset(
    {
        *("type", "uuid", "name", "args", "kwargs", "retries", "eta", "expires"),
        *("root_id", "parent_id", "queue", "exchange", "routing_key"),
        *("result", "runtime", "exception", "traceback"),
        *("terminated", "signum", "expired", "requeue"),
        *("hostname", "timestamp", "local_received", "utcoffset", "pid", "clock"),
    }
)
_NOTHING: Final = frozenset({"", "()", "[]", "{}", "None"})

_MODEL: Final = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}"
_SUMMARY: Final = re.compile(rf"tenant=[A-Za-z0-9._-]{{1,64}} model={_MODEL} pictures=\d{{1,6}}")
_DELIVERY: Final = re.compile(r"tenant=[A-Za-z0-9._-]{1,64} event=[a-z_]{1,40}\.[a-z_]{1,40}")
_ENDED: Final = re.compile(
    r"'?(completed cost_rub=[0-9.E+-]+ cached=(?:True|False)|delivered status=\d{3})'?"
)
#: Celery's event of a retry names no reason; the last line of its traceback does.
_POSTPONED: Final = re.compile(r"\.Retry: ((?:waiting|parked): [a-z0-9_]{1,40})\s*$")
_RAISED: Final = re.compile(r"(\w{1,80})\((.*)\)", re.DOTALL)


def mask_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return a task's event as it may be shown and kept."""
    seen = {name: value for name, value in event.items() if name in _KEPT}
    for name in seen.keys() & {"args", "kwargs"}:
        seen[name] = show_arguments(seen[name])
    if "result" in seen:
        seen["result"] = show_result(str(seen["result"]))
    if "exception" in seen:
        seen["exception"] = show_exception(str(seen["exception"]), str(seen.get("traceback")))
        # Its last line is the exception, whole; the workers' logs have the others.
        seen["traceback"] = None
    return seen


def mask_request(request: dict[str, Any]) -> dict[str, Any]:
    """Return a task that a worker holds, as its control command describes it, without content."""
    if "request" in request:  # one with a time to start at
        return request | {"request": mask_request(request["request"])}
    shown = {name: show_arguments(request[name]) for name in request.keys() & {"args", "kwargs"}}
    return request | shown


def show_arguments(arguments: object) -> str:
    """Return a worker's summary of a job or webhook event; hide anything else."""
    text = str(arguments)
    known = text in _NOTHING or _SUMMARY.fullmatch(text) or _DELIVERY.fullmatch(text)
    return text if known else HIDDEN


def show_result(result: str) -> str:
    """Return a worker's report of its task, hiding anything else."""
    ended = _ENDED.fullmatch(result)
    return ended[1] if ended else HIDDEN


def show_exception(exception: str, traceback: str = "") -> str:
    """Return `waiting: CODE`, `parked: CODE` or `CODE: place`; of anything else its class.

    The owner's own message is in the result, and in `visionq jobs show`.
    """
    if postponed := _POSTPONED.search(traceback):
        return postponed[1]
    raised = _RAISED.fullmatch(exception)
    if raised is None:
        return HIDDEN
    return read_brief(_text(raised[2])) or f"{raised[1]} {HIDDEN}"


def _text(literal: str) -> str:
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""  # no single text, so not one of our errors
    return value if isinstance(value, str) else ""


class SilentState(EventsState):  # type: ignore[misc]  # likewise
    """Flower's memory of events, without what tasks were about.

    Workers hide it too, but a plain Celery caller's event carries what that caller wrote.
    """

    def event(self, event: dict[str, Any]) -> None:
        """Remember one event."""
        if event["type"].startswith("task-"):
            event = self._add_what_is_known(mask_event(event))
        super().event(event)
        self._forget_strangers()

    def _add_what_is_known(self, event: dict[str, Any]) -> dict[str, Any]:
        known = self.tasks.get(event["uuid"])
        if event["hostname"] == CLIENT_NAME and known and known.worker:
            event["hostname"] = known.worker.hostname  # cancelled here, but held there
        # Celery can't count: each attempt is a message of its own, whose count is zero.
        retries = (known.retries or 0) if known else 0
        match event["type"]:
            case "task-received":
                event["retries"] = max(retries, event.get("retries") or 0)
            case "task-retried":
                event["retries"] = retries + 1
            case "task-succeeded":
                # Why it once waited is no property of what succeeded.
                event["exception"] = None
        return event

    def _forget_strangers(self) -> None:
        """Drop the counts of senders that are no worker, or whose worker was forgotten."""
        if len(self.counter) <= 2 * self.max_workers_in_memory:
            return
        strangers = {name for name in self.counter if name not in self.workers}
        for name in strangers:
            del self.counter[name]
        self.metrics.remove_workers(strangers)


class SilentInspector(Inspector):  # type: ignore[misc]  # likewise
    """Flower's inspector; masks the arguments of waiting tasks."""

    def _inspect(self, method: str, workername: str | None) -> None:
        """Wait longer for one worker: its page is nothing but its answer."""
        asking = copy(self)
        if workername is not None:
            asking.timeout = max(self.timeout, _INSPECT_TIMEOUT)
        super(SilentInspector, asking)._inspect(method, workername)

    def _on_update(self, workername: str, method: str, response: Any) -> None:  # noqa: ANN401  # JSON of a worker
        if method in ("active", "reserved", "scheduled"):
            response = [mask_request(request) for request in response]
        super()._on_update(workername, method, response)
