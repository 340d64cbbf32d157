"""Messages that no worker can work on, as they are in a queue of Redis."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any
from uuid import uuid4

from visionq.dead_letters import Reason
from visionq.names import TASK_ANALYZE

MEGABYTES = 20_000_000


def envelope(
    queue: str, content: bytes, task: str = TASK_ANALYZE, task_id: str = "", **changes: Any
) -> bytes:
    """Return a message as Celery's clients write it, some parts changed or left out (None)."""
    parts: dict[str, Any] = {
        "body": base64.b64encode(content).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": task_id or str(uuid4()), "origin": "1@test"},
        "properties": {
            "body_encoding": "base64",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "delivery_tag": str(uuid4()),
        },
        **changes,
    }
    return json.dumps({name: part for name, part in parts.items() if part is not None}).encode()


def arguments(*positional: Any, **named: Any) -> bytes:
    return json.dumps([positional, named, {}]).encode()


def eight_kinds(queue: str) -> dict[str, tuple[bytes, str]]:
    """Return for each kind of poison the message, and the reason for which it is kept."""
    good = arguments(prompt="What?", images=[{"url": "https://example.com/a.png"}])
    return {
        "unknown task": (envelope(queue, good, task="shop.resize"), Reason.UNKNOWN_TASK),
        "wrong arguments": (envelope(queue, arguments(1, 2, colour="red")), "invalid_job"),
        "broken JSON body": (envelope(queue, b'[[], {"prompt": '), Reason.BROKEN_BODY),
        "non-JSON envelope": (b"\xff\xfe not a message", Reason.NOT_JSON),
        "pickle": (
            envelope(
                queue,
                pickle.dumps(((), {"prompt": "What?"}, {})),
                **{"content-type": "application/x-python-serialize", "content-encoding": "binary"},
            ),
            Reason.CONTENT_REFUSED,
        ),
        "no headers": (envelope(queue, good, headers=None), Reason.NO_TASK),
        "no properties": (envelope(queue, good, properties=None), Reason.BROKEN_ENVELOPE),
        "20 MB body": (
            envelope(queue, arguments(prompt="x" * MEGABYTES, images=[])), "invalid_job",
        ),
    }  # fmt: skip


def further_kinds(queue: str) -> dict[str, tuple[bytes, str]]:
    """Return what else ends a worker of Celery 5.7, or one of its threads."""
    deep = ("[" * 100_000).encode()
    nameless = {"task": TASK_ANALYZE}
    return {
        "no task id": (envelope(queue, arguments(), headers=nameless), Reason.WRONG_ARGUMENTS),
        "unknown task without id": (
            envelope(queue, arguments(), headers={"task": "shop.resize"}), Reason.WRONG_ARGUMENTS,
        ),
        "task that is a list": (
            envelope(queue, arguments(), headers={"task": [], "id": "a"}), Reason.WRONG_ARGUMENTS,
        ),
        "headers that are a list": (
            envelope(queue, arguments(), headers=[1]), Reason.BROKEN_ENVELOPE,
        ),
        "body null": (envelope(queue, b"null"), Reason.WRONG_ARGUMENTS),
        "body of two": (envelope(queue, b"[[], {}]"), Reason.WRONG_ARGUMENTS),
        "body that is no base64": (envelope(queue, b"", body="%"), Reason.WRONG_ARGUMENTS),
        "deep envelope": (deep, Reason.NOT_JSON),
        "deep body": (envelope(queue, deep), Reason.BROKEN_BODY),
        "envelope that is a number": (b"7", Reason.BROKEN_ENVELOPE),
        "hint with arguments": (
            envelope(queue, arguments(1), task="visionq.run"), Reason.WRONG_ARGUMENTS,
        ),
    }  # fmt: skip
