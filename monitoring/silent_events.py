"""Keeps prompts, pictures and answers out of Flower: its pages, its API, its search, its file."""

from __future__ import annotations

from typing import Any, Final

from flower.events import EventsState  # type: ignore[import-untyped]  # no annotations

HIDDEN: Final = "(hidden)"
_FIELDS: Final = ("args", "kwargs", "result")


class SilentState(EventsState):  # type: ignore[misc]  # likewise
    """Flower's memory of events, without what tasks were about.

    Workers hide it too, but a plain Celery caller's event carries what that caller wrote.
    """

    def event(self, event: dict[str, Any]) -> None:
        """Remember one event."""
        hidden = {field: HIDDEN for field in _FIELDS if field in event}
        super().event(event | hidden)
