"""What people may see of a task: what workers say of it, and nothing that a caller wrote."""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from visionq.errors import BY_CODE

HIDDEN: Final = "(hidden)"
#: Characters of an error's text that fit into the table; the whole is in `visionq jobs show`.
_LONGEST_ERROR: Final = 160

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
_COMPLETED: Final = re.compile(r"'?(completed cost_rub=[0-9.E+-]+ cached=(?:True|False))'?")
#: Celery's event of a retry names no reason; the last line of its traceback does.
_POSTPONED: Final = re.compile(r"\.Retry: ((?:waiting|parked): [a-z_]{1,40})\s*$")
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
    """Return a worker's summary (tenant, model, pictures) as it is, anything else hidden."""
    text = str(arguments)
    return text if text in _NOTHING or _SUMMARY.fullmatch(text) else HIDDEN


def show_result(result: str) -> str:
    """Return what a worker says of a completed job, anything else hidden."""
    completed = _COMPLETED.fullmatch(result)
    return completed[1] if completed else HIDDEN


def show_exception(exception: str, traceback: str = "") -> str:
    """Return `waiting: CODE`, `parked: CODE` or `CODE: message`; of anything else its class."""
    if postponed := _POSTPONED.search(traceback):
        return postponed[1]
    raised = _RAISED.fullmatch(exception)
    if raised is None:
        return HIDDEN
    message = _text(raised[2])
    if message.partition(": ")[0] in BY_CODE:
        return _shorten(message)
    return f"{raised[1]} {HIDDEN}"


def _shorten(message: str) -> str:
    return message if len(message) <= _LONGEST_ERROR else message[: _LONGEST_ERROR - 1] + "…"


def _text(literal: str) -> str:
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""  # no single text, so no error of ours
    return value if isinstance(value, str) else ""
