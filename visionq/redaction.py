"""The part of an error that people may read: code, field, position; never content.

Prompts, pictures, their names and addresses, schemas, answers and the provider's own words belong
to the owner of a job, who reads them in its result. Events, Flower, logs and lists are read by
operators: of an error they say what `brief` says.
"""

from __future__ import annotations

import logging
import re
import traceback
from functools import cache
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from visionq.contract import JobDocument
from visionq.dead_letters import Reason
from visionq.errors import BY_CODE, InternalError, VisionqError, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Errors of connections: their texts name hosts and ports, and no more.
_OF_CONNECTIONS: Final = (OSError, RedisConnectionError, RedisTimeoutError)
_PICTURE: Final = re.compile(r"picture \d{1,3}")
_CODE: Final = re.compile(r"[a-z_]{1,40}")
_DEEPEST: Final = 4
_POSITION: Final = re.compile(r"\d{1,3}")


def brief(code: str, message: str = "", picture: int | None = None) -> str:
    """Return the code of an error and its place: a picture's number, or a field.

    `message` is the error's own, of which no more is taken than the field that it begins with.
    """
    known = code if _CODE.fullmatch(code) else InternalError.code
    where = place(message, picture)
    return f"{known}: {where}" if where else known


def place(message: str, picture: int | None = None) -> str:
    """Return where a fault is; empty where it is nowhere in particular."""
    return f"picture {picture}" if picture is not None else field_in(message)


def brief_of(error: BaseException) -> str:
    """Return the safe part of any exception; the class for one that is not ours."""
    if isinstance(error, VisionqError):
        told = f"{error.code}: {error.message}"
        return read_brief(told) or brief(error.code, error.message)
    return type(error).__name__


def read_brief(text: str) -> str | None:
    """Parse a text made by `brief`; None without a code."""
    code, _, where = text.partition(": ")
    if code not in BY_CODE:
        return None
    if _PICTURE.fullmatch(where) or where in frozenset(Reason):
        return f"{code}: {where}"
    return brief(code, where if ": " in where else f"{where}: ")


def field_in(message: str) -> str:
    """Return the contract's field that a message names first.

    Anything below `metadata`, `extra_body` or `answer_schema` is the caller's own.
    """
    path, colon, _ = message.partition(": ")
    if not colon or path in {"", "document"}:
        return ""
    known: list[str] = []
    for part in path.split("."):
        if part not in _fields() and not (known and _POSITION.fullmatch(part)):
            break
        known.append(part)
        if part in _FREE:
            break
    return ".".join(known[:_DEEPEST])


#: Fields whose names inside are the caller's to choose.
_FREE: Final = frozenset({"metadata", "extra_body", "answer_schema"})


@cache
def _fields() -> frozenset[str]:
    return frozenset({"args", "task_id", *_names_in(JobDocument)})


def _names_in(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for inner in _models_in(field.annotation):
            yield from _names_in(inner)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def without_text(error: BaseException) -> str:
    """Return where an exception arose, and the classes of it and its causes."""
    parts: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = "".join(traceback.format_tb(link.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{_named(link)}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n\nwhich led to:\n\n".join(reversed(parts))


def _named(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, VisionqError):
        return f"{name}: {brief_of(error)}"
    return f"{name}: {_shown(error)}" if isinstance(error, _OF_CONNECTIONS) else name


def _shown(value: Any) -> Any:  # noqa: ANN401  # an argument of a log record
    if not isinstance(value, BaseException):
        return value
    return without_secrets(str(value)) if isinstance(value, _OF_CONNECTIONS) else brief_of(value)


def keep_content_out_of_logs() -> None:
    """Log exceptions without their text in this process, including those of libraries."""
    make = logging.getLogRecordFactory()

    def make_brief(*args: Any, **options: Any) -> logging.LogRecord:  # noqa: ANN401  # logging's own
        record = make(*args, **options)
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            record.exc_text = without_text(record.exc_info[1])
        if isinstance(record.args, tuple):
            record.args = tuple(map(_shown, record.args))
        return record

    logging.setLogRecordFactory(make_brief)
