"""Mask the content of requests in events, Flower and logs."""

from __future__ import annotations

from typing import Any, Final

from celery.worker.request import Request
from pydantic import TypeAdapter, ValidationError

from visionq.contract.base import TenantName
from visionq.contract.limits import MODEL_NAME
from visionq.errors import VisionqError
from visionq.names import TASK_ANALYZE
from visionq.redaction import brief_of, place
from worker.celery.dead_letters import as_it_came, keep_dead_letter
from worker.threads.dispatcher import summary

_TENANT: Final[TypeAdapter[str]] = TypeAdapter(TenantName)


class MaskedRequest(Request):
    """Masks the prompts and pictures of plain callers."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(*args, **options)
        if self.kwargs or self.args:
            self._argsrepr = _describe(self.kwargs)
            self._kwargsrepr = "{}"
            self.request_dict["argsrepr"] = self._argsrepr
            self.request_dict["kwargsrepr"] = self._kwargsrepr

    _failure: BaseException | None = None

    @property
    def eta(self) -> None:
        """Ignore `eta`, so that a message with one is refused at once."""

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        """Keep a refused document: it has no job, and its sender may be gone."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if self.type == TASK_ANALYZE and isinstance(error, VisionqError):
            keep_dead_letter(as_it_came(self.message), error.code, place(error.message), tell=False)
        self._failure = error
        super().on_failure(exc_info, *args, **options)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002, ANN401  # Celery's signature
        """Publish only the public part of a failure; the caller's result has the rest."""
        if type == "task-failed":
            fields |= {"exception": _describe_failure(self._failure), "traceback": None}
        super().send_event(type, **fields)

    def info(self, safe: bool = True) -> Any:  # noqa: ANN401, ARG002  # Celery's signature
        """Mask the request for `celery inspect` too."""
        return super().info(safe=True)


def _describe(document: object) -> str:
    if not isinstance(document, dict):
        return "(masked)"
    images = document.get("images")
    return summary(
        _name(document.get("tenant", "default"), _TENANT),
        _name(document.get("model", "default"), MODEL_NAME),
        len(images) if isinstance(images, list) else 0,
    )


def _name(name: object, kind: TypeAdapter[str]) -> str:
    try:
        return kind.validate_python(name, strict=True)
    except ValidationError:
        return "(wrong)"


def _describe_failure(error: BaseException | None) -> str:
    if not isinstance(error, VisionqError):
        return f"{type(error).__name__}()"
    return f"{type(error).__name__}({brief_of(error)!r})"
