"""Keep messages that no task can process as dead letters."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import structlog

from visionq.dead_letters import BrokerMessage
from visionq.errors import InvalidJob
from visionq.ledger import celery_results
from visionq.ledger.records import error_document
from visionq.redis_connection import TRANSIENT_ERRORS

if TYPE_CHECKING:
    from kombu import Message

    from visionq.dead_letters import Reason

log = structlog.get_logger(__name__)


def keep_dead_letter(
    message: BrokerMessage, reason: Reason | str, detail: str = "", *, tell: bool = True
) -> bool:
    """Keep a message and fail its task for callers that wait; return false without Redis.

    `detail` is read by operators: it has no word of the message.

    A message that is not even a message of Celery's has left its queue by then: where it can't be
    kept, the log has all that is left of it.
    """
    from worker.celery.lifecycle import runtime  # noqa: PLC0415  # it imports this

    result = _result(message.id, reason, detail) if tell and message.id else ""
    facts = {"queue": message.queue, "reason": str(reason), "bytes": len(message.raw)}
    try:
        letter = runtime().dead_letters.keep(message, reason, detail, result)
    except TRANSIENT_ERRORS as error:
        log.error("message.not_kept", error=str(error), **facts)  # noqa: TRY400  # passes by itself
        return False
    log.warning("message.set_aside", letter=letter, detail=detail, task=message.task, **facts)
    return True


def _result(task_id: str, reason: str, detail: str) -> str:
    error = InvalidJob(
        f"no worker can work on the message ({reason}): {detail or 'kept as a dead letter'}"
    )
    return celery_results.failure(task_id, error_document(error), type(error).__name__, time.time())


def as_it_came(message: Message) -> BrokerMessage:
    """Return a broker's message in the form in which Redis holds it."""
    raw = getattr(message, "_raw", None)  # kombu's transport for Redis has kept it
    headers: dict[str, Any] = message.headers if isinstance(message.headers, dict) else {}
    task, task_id = headers.get("task"), headers.get("id")
    if task is None:  # the first protocol of Celery names them in the body
        body = _decoded(message)
        task, task_id = body.get("task"), body.get("id")
    info = message.delivery_info or {}
    return BrokerMessage(
        queue=str(info.get("routing_key") or ""),
        raw=json.dumps(raw if raw is not None else _envelope(message)).encode(),
        task=task if isinstance(task, str) else "",
        id=task_id if isinstance(task_id, str) else "",
        origin=str(headers.get("origin") or ""),
    )


def _decoded(message: Message) -> dict[str, Any]:
    try:
        body = message.payload
    except Exception:  # noqa: BLE001  # a stranger's body can make a decoder raise anything
        return {}
    return body if isinstance(body, dict) else {}


def _envelope(message: Message) -> dict[str, Any]:
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": message.content_type,
        "content-encoding": message.content_encoding,
        "headers": message.headers,
        "properties": {"body_encoding": "base64", "delivery_info": message.delivery_info},
    }
