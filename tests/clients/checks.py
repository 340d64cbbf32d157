"""What the Python scripts share: checks, tried one after the other, reported as JSON."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_URL = os.environ["BASE_URL"]
KEY, POOR_KEY = os.environ["API_KEY"], os.environ["POOR_KEY"]
MODEL = os.environ["MODEL"]
URL, DATA, FILE = (os.environ[f"PICTURE_{name}"] for name in ("URL", "DATA", "FILE"))
#: What the simulator says of each picture.
SIZE = "64x48"
QUESTION = "What is in this picture?"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"description": {"type": "string"}},
    "required": ["description"],
    "additionalProperties": False,
}
#: One for all checks: clients keep connections, which are bound to it.
_loop = asyncio.new_event_loop()
_told: list[dict[str, Any]] = []


def chat_messages(url: str = DATA, text: str = QUESTION) -> Any:
    """Return the messages of a completion about a picture."""
    image = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": text}, image]}]


def response_input(url: str = DATA, text: str = QUESTION) -> Any:
    """Return the input of a response about a picture."""
    image = {"type": "input_image", "image_url": url, "detail": "low"}
    return [{"role": "user", "content": [{"type": "input_text", "text": text}, image]}]


def check(name: str) -> Callable[[Callable[[], Any]], None]:
    """Run what is decorated: it passes unless it raises, or returns false."""

    def run(act: Callable[[], Any]) -> None:
        try:
            result = _done(act)
        except Exception as error:  # noqa: BLE001  # reported, and the next check is tried
            where = traceback.extract_tb(error.__traceback__)[-1]
            note = f"{type(error).__name__}: {error} ({where.name}:{where.lineno})"[:800]
            _told.append({"name": name, "passed": False, "note": note})
        else:
            _told.append({"name": name, "passed": result is None or bool(result)})

    return run


def refused(name: str, *words: str) -> Callable[[Callable[[], Any]], None]:
    """Run what is decorated: it passes if it raises an error that says all of the words."""

    def run(act: Callable[[], Any]) -> None:
        said = "nothing was raised"
        try:
            _done(act)
        except Exception as error:  # noqa: BLE001  # what is looked for
            said = _all_of(error)
        passed = all(word.lower() in said.lower() for word in words)
        _told.append(
            {"name": name, "passed": passed, "refusal": True, "note": said if not passed else ""}
        )

    return run


def _done(act: Callable[[], Any]) -> Any:
    result = act()
    return _loop.run_until_complete(result) if inspect.iscoroutine(result) else result


def _all_of(error: BaseException | None) -> str:
    said = []
    while error is not None:
        said.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return " | ".join(said)[:1500]


def tell(*packages: str) -> None:
    """Print what has been found."""
    versions = {name: version(name) for name in packages}
    sys.stdout.write(json.dumps({"versions": versions, "checks": _told}) + "\n")
