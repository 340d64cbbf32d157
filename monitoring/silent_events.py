"""Keeps prompts, pictures and answers out of Flower: its pages, its API, its search, its file."""

from __future__ import annotations

from copy import copy
from typing import Any, Final

from flower.events import EventsState  # type: ignore[import-untyped]  # no annotations
from flower.inspector import Inspector  # type: ignore[import-untyped]  # likewise

from monitoring.masks import mask_event, mask_request
from monitoring.settings import CLIENT_NAME

#: Seconds; a worker that answers sooner is not waited for.
_PATIENCE: Final = 8.0


class SilentState(EventsState):  # type: ignore[misc]  # likewise
    """Flower's memory of events, without what tasks were about.

    Workers hide it too, but a plain Celery caller's event carries what that caller wrote.
    """

    def event(self, event: dict[str, Any]) -> None:
        """Remember one event."""
        if event["type"].startswith("task-"):
            event = self._add_what_is_known(mask_event(event))
        super().event(event)
        self._forget_strangers()

    def _add_what_is_known(self, event: dict[str, Any]) -> dict[str, Any]:
        known = self.tasks.get(event["uuid"])
        if event["hostname"] == CLIENT_NAME and known and known.worker:
            event["hostname"] = known.worker.hostname  # cancelled here, but held there
        # Celery can't count: each attempt is a message of its own, whose count is zero.
        retries = (known.retries or 0) if known else 0
        match event["type"]:
            case "task-received":
                event["retries"] = max(retries, event.get("retries") or 0)
            case "task-retried":
                event["retries"] = retries + 1
            case "task-succeeded":
                # Why it once waited is no property of what succeeded.
                event["exception"] = None
        return event

    def _forget_strangers(self) -> None:
        """Drop the counts of senders that are no worker, or whose worker was forgotten."""
        if len(self.counter) <= 2 * self.max_workers_in_memory:
            return
        strangers = {name for name in self.counter if name not in self.workers}
        for name in strangers:
            del self.counter[name]
        self.metrics.remove_workers(strangers)


class SilentInspector(Inspector):  # type: ignore[misc]  # likewise
    """What Flower asks workers for; those name the arguments of tasks not yet begun."""

    def _inspect(self, method: str, workername: str | None) -> None:
        """Ask one worker with patience: its page is nothing but its answer, which may come late."""
        asking = copy(self)
        if workername is not None:
            asking.timeout = max(self.timeout, _PATIENCE)
        super(SilentInspector, asking)._inspect(method, workername)

    def _on_update(self, workername: str, method: str, response: Any) -> None:  # noqa: ANN401  # JSON of a worker
        if method in ("active", "reserved", "scheduled"):
            response = [mask_request(request) for request in response]
        super()._on_update(workername, method, response)
