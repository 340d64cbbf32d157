"""How a message looks from outside: in events, in Flower and in logs, without its content."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from visionq.errors import VisionqError
from visionq.names import TASK_ANALYZE
from worker.hints import summary
from worker.setting_aside import as_it_came, set_aside


class MaskedRequest(Request):
    """Replaces what plain callers let everybody see: their prompts and pictures."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(*args, **options)
        if self.kwargs or self.args:
            self._argsrepr = _describe(self.kwargs)
            self._kwargsrepr = "{}"
            self.request_dict["argsrepr"] = self._argsrepr
            self.request_dict["kwargsrepr"] = self._kwargsrepr

    @property
    def eta(self) -> None:
        """Look at every message at once; one that asks to wait is then refused by name."""

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        """Keep a document that was refused: no job stands for it, and its sender may be gone."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if self.type == TASK_ANALYZE and isinstance(error, VisionqError):
            set_aside(as_it_came(self.message), error.code, error.message, tell=False)
        super().on_failure(exc_info, *args, **options)

    def info(self, safe: bool = True) -> Any:  # noqa: ANN401, ARG002  # Celery's signature
        """Describe the request to `celery inspect` as everywhere else, whatever it asks for."""
        return super().info(safe=True)


def _describe(document: object) -> str:
    if not isinstance(document, dict):
        return "(masked)"
    images = document.get("images")
    return summary(
        str(document.get("tenant", "default"))[:64],
        str(document.get("model", "default"))[:64],
        len(images) if isinstance(images, list) else 0,
    )
