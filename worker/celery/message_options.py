"""What a plain caller's message asks of Celery: honoured, or refused by name.

docs/producing.md has the whole table.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.app.task import Context

_FOLLOW_UP: Final = "nothing can follow a job yet; get its result, then send the next task"
#: Field of the message → the option as callers write it, and what to do without it.
_REFUSED: Final = {
    "callbacks": ("link", _FOLLOW_UP),
    "errbacks": ("link_error", _FOLLOW_UP),
    "chain": ("chain", _FOLLOW_UP),
    "chord": ("chord", _FOLLOW_UP),
    "eta": ("countdown or eta", "send the job when it may run"),
    "stamps": ("stamps", "put them into `metadata`, and revoke by id"),
}


def apply_message_options(document: Mapping[str, Any], request: Context) -> dict[str, Any]:
    """Return the document with `expires` as its deadline; an earlier deadline of its own stays.

    Raises:
        InvalidJob: the message asks for what no job can have; names the option.
    """
    for field, (option, advice) in _REFUSED.items():
        if getattr(request, field, None):
            raise InvalidJob(f"{option}: not supported; {advice}")
    if any(request.timelimit or ()):
        raise InvalidJob("time_limit: not supported; set `deadline`, or `expires`")
    if request.expires is None:
        return dict(document)
    return {**document, "deadline": _earlier(document.get("deadline"), request.expires)}


def _earlier(deadline: object, expires: object) -> object:
    """Return the earlier of the two; a deadline that is none is left for the contract to refuse."""
    lapse = _aware(expires)
    if deadline is None:
        return lapse.isoformat()
    try:
        return deadline if _aware(deadline) < lapse else lapse.isoformat()
    except (TypeError, ValueError):
        return deadline


def _aware(moment: object) -> datetime:
    found = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
