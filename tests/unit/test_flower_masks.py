from __future__ import annotations

from typing import Any

import pytest

from monitoring.flower.masking import (
    HIDDEN,
    mask_event,
    mask_request,
    show_arguments,
    show_exception,
    show_result,
)
from visionq.errors import BY_CODE, JobFailed, RateLimited

PROMPT = "What is on my secret picture"
SUMMARY = "tenant=shop.eu model=openai/gpt-6-luna pictures=2"


@pytest.mark.parametrize("arguments", [SUMMARY, "()", "{}", "[]", ""])
def test_summaries_are_shown(arguments: str) -> None:
    """A worker's words on a job, and nothing at all, are shown as they are."""
    assert show_arguments(arguments) == arguments


@pytest.mark.parametrize(
    "arguments",
    [
        f"{{'prompt': '{PROMPT}'}}",
        f"{SUMMARY} {PROMPT}",
        f"{PROMPT}\n{SUMMARY}",
        f"tenant={PROMPT} model=m pictures=1",
        "tenant=a model=data:image/png;base64,iVBORw0KGgo= pictures=1",
        [PROMPT],
        {"prompt": PROMPT},
        (PROMPT,),
    ],
)
def test_other_arguments_are_hidden(arguments: object) -> None:
    """Anything that a caller could have written is hidden."""
    assert show_arguments(arguments) == HIDDEN


def test_results() -> None:
    """A completed job's cost is shown, its answer is not."""
    assert show_result("'completed cost_rub=0.33 cached=False'") == (
        "completed cost_rub=0.33 cached=False"
    )
    assert show_result(f"'completed cost_rub=0.33 cached=False {PROMPT}'") == HIDDEN
    assert show_result(f"{{'text': '{PROMPT}'}}") == HIDDEN


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_failures_show_their_code(code: str) -> None:
    """A failure of visionq shows its code and the place of its fault, and not a word more."""
    said = f"{PROMPT}: 'quoted'\n\"twice\""
    for message, image in ((said, "photo.png"), (said, None), (f"metadata.{PROMPT}: no", None)):
        shown = show_exception(repr(BY_CODE[code](message, image=image)))
        assert shown == (f"{code}: metadata" if message.startswith("metadata") else code)
    assert show_exception(repr(BY_CODE[code]("picture 2"))) == f"{code}: picture 2"
    assert show_exception(repr(BY_CODE[code](f"picture 2 {PROMPT}"))) == code
    assert show_exception(repr(BY_CODE[code]("images.0.url"))) == f"{code}: images.0.url"
    assert show_exception(repr(BY_CODE[code]("broken_body"))) == f"{code}: broken_body"
    assert show_exception(repr(JobFailed(code, "is the same"))) == code


@pytest.mark.parametrize("reason", ["waiting: rate_limited", "parked: insufficient_balance"])
def test_retries_show_their_reason(reason: str) -> None:
    """A retry shows why the job waits, which Celery's event has in its traceback alone."""
    traceback = f"Traceback …:\n  File …\n    raise Retry(…)\ncelery.exceptions.Retry: {reason}\n"
    assert show_exception("Retry(Retry(...), None, None)", traceback) == reason


@pytest.mark.parametrize(
    ("exception", "shown"),
    [
        (f"ValueError('{PROMPT}')", f"ValueError {HIDDEN}"),
        (f"Error('{PROMPT}: rate_limited: no')", f"Error {HIDDEN}"),
        (f"ValueError('{PROMPT}', 'rate_limited: no')", f"ValueError {HIDDEN}"),
        (f"<{PROMPT}>", HIDDEN),
        ("", HIDDEN),
    ],
)
def test_other_errors_show_their_class(exception: str, shown: str) -> None:
    """An error that is none of visionq may say anything, so only its class is shown."""
    assert show_exception(exception) == shown


def test_errors_are_short() -> None:
    """An error takes a bounded place in Flower's memory and in its table."""
    assert show_exception(repr(RateLimited("slow down " * 1000))) == "rate_limited"
    deep = ".".join(["images.0.url"] * 1000)
    assert len(show_exception(repr(RateLimited(f"{deep}: no")))) <= 80


def test_deliveries() -> None:
    """An event on its way to a webhook reads as what it is, and not as something hidden."""
    told = "tenant=shop event=batch.completed"
    assert show_arguments(told) == told
    assert show_arguments(f"{told} {PROMPT}") == HIDDEN
    assert show_result("'delivered status=204'") == "delivered status=204"
    retry = "celery.exceptions.Retry: waiting: answered_503"
    assert show_exception("None", retry) == "waiting: answered_503"


def test_events_keep_what_is_known() -> None:
    """Of an event nothing is kept but the fields that Flower shows, masked."""
    event: dict[str, Any] = {
        "type": "task-failed",
        "uuid": "1",
        "hostname": "worker@here",
        "exception": "RateLimited('rate_limited: slow down')",
        "traceback": f"  File …\n    ask({PROMPT})\nRateLimited: rate_limited: slow down",
        "kwargs": f"{{'prompt': '{PROMPT}'}}",
        "result": PROMPT,
        "prompt": PROMPT,
    }
    assert mask_event(event) == {
        "type": "task-failed",
        "uuid": "1",
        "hostname": "worker@here",
        "exception": "rate_limited",
        "traceback": None,
        "kwargs": HIDDEN,
        "result": HIDDEN,
    }


def test_requests_in_workers() -> None:
    """A task that a worker holds is named without its content, also one that starts later."""
    held = {"id": "1", "args": [], "kwargs": {"prompt": PROMPT}, "acknowledged": True}
    hidden = {"id": "1", "args": "[]", "kwargs": HIDDEN, "acknowledged": True}
    assert mask_request(held) == hidden
    assert mask_request({"eta": "later", "request": held}) == {"eta": "later", "request": hidden}
