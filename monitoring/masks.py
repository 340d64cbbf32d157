"""What people may see of a task: what workers say of it, and nothing that a caller wrote."""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from visionq.redaction import read_brief

HIDDEN: Final = "(hidden)"

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
    """Return a worker's summary of a job, or of an event for a webhook; anything else hidden."""
    text = str(arguments)
    known = text in _NOTHING or _SUMMARY.fullmatch(text) or _DELIVERY.fullmatch(text)
    return text if known else HIDDEN


def show_result(result: str) -> str:
    """Return what a worker says of what it has done, anything else hidden."""
    ended = _ENDED.fullmatch(result)
    return ended[1] if ended else HIDDEN


def show_exception(exception: str, traceback: str = "") -> str:
    """Return `waiting: CODE`, `parked: CODE` or `CODE: place`; of anything else its class.

    What the job's owner is told is in its result, and in `visionq jobs show`.
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
        return ""  # no single text, so no error of ours
    return value if isinstance(value, str) else ""
