"""How a message looks from outside: in events, in Flower and in logs, without its content."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from worker.hints import summary


class MaskedRequest(Request):
    """Replaces what plain callers let everybody see: their prompts and pictures."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(*args, **options)
        if self.kwargs or self.args:
            self._argsrepr = _describe(self.kwargs)
            self._kwargsrepr = "{}"
            self.request_dict["argsrepr"] = self._argsrepr
            self.request_dict["kwargsrepr"] = self._kwargsrepr

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
