"""What Flower, events and logs see of a message: never what is in it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from kombu import Connection
from kombu.transport.virtual import Message

from worker.celery.masked_request import MaskedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "canary-prompt-7316"
PICTURE = base64.b64encode(b"canary-picture" * 10).decode()


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("masked", broker="memory://", set_as_current=False)

    @app.task(name="tests.masked", shared=False)
    def masked() -> None: ...

    yield app
    app.close()


def request_of(app: Celery, args: Any, kwargs: Any) -> MaskedRequest:
    """Return the request of a message as a plain Celery caller sends it."""
    headers = {
        "id": "job-1",
        "task": "tests.masked",
        "lang": "py",
        "argsrepr": repr(args),
        "kwargsrepr": repr(kwargs),
    }
    body = base64.b64encode(json.dumps([args, kwargs, {}]).encode()).decode()
    raw = {
        "body": body,
        "headers": headers,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {"delivery_info": {}, "delivery_tag": "1", "body_encoding": "base64"},
    }
    with Connection("memory://") as connection, connection.channel() as channel:
        virtual: Any = channel
        message = Message(raw, channel=virtual)
        return MaskedRequest(message, app=app, task=app.tasks["tests.masked"])


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [
        (
            [],
            {"prompt": CANARY, "images": [{"url": f"data:image/png;base64,{PICTURE}"}] * 2},
            "tenant=default model=default pictures=2",
        ),
        (
            [],
            {"prompt": CANARY, "tenant": "team", "model": "m1"},
            "tenant=team model=m1 pictures=0",
        ),
        ([CANARY], {}, "tenant=default model=default pictures=0"),
        ([], {"images": CANARY}, "tenant=default model=default pictures=0"),
    ],
)
def test_masks(app: Celery, args: Any, kwargs: Any, shown: str) -> None:
    """Tenant, model and the number of pictures are shown, nothing of prompt and pictures."""
    request = request_of(app, args, kwargs)
    assert request.argsrepr == shown
    shown_too = [request.request_dict[name] for name in ("argsrepr", "kwargsrepr")]
    everything = repr((request.kwargsrepr, request.info(), str(request), repr(request), shown_too))
    assert CANARY not in everything
    assert PICTURE[:20] not in everything


def test_long_names_are_cut(app: Celery) -> None:
    """A prompt that is where a name belongs is not shown at length."""
    request = request_of(app, [], {"tenant": "t" * 1000, "model": "m" * 1000})
    assert len(request.argsrepr) < 200


def test_keeps_the_content(app: Celery) -> None:
    """The task itself gets what was sent."""
    assert request_of(app, [], {"prompt": CANARY}).kwargs == {"prompt": CANARY}


def test_a_hint_says_what_it_said(app: Celery) -> None:
    """A message without content keeps the summary that its sender wrote."""
    request = request_of(app, [], {})
    assert request.argsrepr == "[]"
