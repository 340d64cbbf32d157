"""Events for webhooks, as plain Python: part of the ledger's model."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from visionq.names import QUEUE_WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_OF_TENANT = 8
LEAST_OUT = 4
MOST_LOOKS = 100


@dataclass
class Event:
    id: str
    tenant: str
    name: str
    subject: str
    state: str = "waiting"
    hints: int = 0
    attempts: int = 0
    token: str = ""


@dataclass
class Events:
    """Events by id, those that are due to a tenant, and those that are out."""

    #: Tenant → the events that it wants; its webhook is named after them.
    wanted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    events_due: dict[str, dict[str, int]] = field(default_factory=dict)
    events_out: dict[str, int] = field(default_factory=dict)
    tenants_due: dict[str, int] = field(default_factory=dict)

    def tell_webhook(self, now: int, tenant: str, name: str, subject: str) -> None:
        if name not in self.wanted.get(tenant, ()):
            return
        id_ = "evt_" + hashlib.sha1(f"{subject} {now}".encode()).hexdigest()[:24]  # noqa: S324  # a name
        if id_ not in self.events:
            self.events[id_] = Event(id_, tenant, name, subject)
            self.event_is_due(now, self.events[id_])

    def event_is_due(self, moment: int, event: Event) -> None:
        self.events_due.setdefault(event.tenant, {})[event.id] = moment
        self.tenants_due[event.tenant] = min(moment, self.tenants_due.get(event.tenant, moment))

    def out_of(self, tenant: str) -> int:
        return sum(self.events[id_].tenant == tenant for id_ in self.events_out)

    def look_at_events(
        self,
        now: int,
        slots: int,
        waits: tuple[int, int],
        broker: Callable[[str], int] | None,
        *,
        leases_count: bool,
    ) -> list[str]:
        hints: list[str] = []
        late = _first(self.events_out, now, MOST_LOOKS) if leases_count else []
        for id_ in late:
            is_sent = self.events[id_].state == "sending"
            if not is_sent and broker and broker(QUEUE_WEBHOOKS) >= len(self.events_out):
                self.events_out[id_] = now + waits[0]
            else:
                self._hand_out(now, id_, waits, hints)
        room = max(LEAST_OUT, slots // 8) - len(self.events_out)
        in_turn = sorted(_first(self.tenants_due, now, MOST_LOOKS), key=self.out_of)
        for tenant in in_turn:
            if room <= 0:
                break
            due = self.events_due.get(tenant, {})
            out = self.out_of(tenant)
            most = max(0, min(math.ceil((3 * room - out) / 4), MOST_OF_TENANT - out))
            for id_ in _first(due, now, most):
                del due[id_]
                self._hand_out(now, id_, waits, hints)
                room -= 1
            self._look_at_tenant_later(tenant)
        return hints

    def _hand_out(self, now: int, id_: str, waits: tuple[int, int], hints: list[str]) -> None:
        event = self.events[id_]
        event.hints += 1
        event.state, event.token = "hinted", ""
        self.events_out[id_] = now + min(waits[1], waits[0] * 2 ** (event.hints - 1))
        hints.append(id_)

    def _look_at_tenant_later(self, tenant: str) -> None:
        self.tenants_due.pop(tenant, None)
        if self.events_due.get(tenant) and self.out_of(tenant) < MOST_OF_TENANT:
            self.tenants_due[tenant] = min(self.events_due[tenant].values())

    def claim_event(self, now: int, id_: str, token: str, lease: int) -> Event | str:
        event = self.events[id_]
        if event.state != "hinted" and not (event.state == "sending" and event.token == token):
            return event.state
        event.state, event.token, event.hints = "sending", token, 0
        self.events_out[id_] = now + lease
        return event

    def finish_event(  # noqa: PLR0917  # as the script takes them
        self, now: int, id_: str, token: str, state: str, delay: int, gone: str
    ) -> bool:
        event = self.events[id_]
        if not token or event.token != token:
            return False
        event.token, event.state = "", state
        event.attempts += 1
        del self.events_out[id_]
        if gone and gone == name_of(self.wanted.get(event.tenant, ())):
            self.wanted.pop(event.tenant, None)
        if state == "waiting":
            self.event_is_due(now + delay, event)
        self._look_at_tenant_later(event.tenant)
        return True

    def redeliver(self, now: int, id_: str) -> str:
        event = self.events[id_]
        before = event.state
        if before in ("waiting", "delivered", "failed"):
            event.state, event.hints = "waiting", 0
            self.event_is_due(now, event)
        return before

    def event_fields(self) -> dict[str, Any]:
        counted = {event.tenant for event in map(self.events.__getitem__, self.events_out)}
        return {
            "events": {
                event.id: (
                    event.tenant, event.name, event.subject, event.state, event.token,
                    event.hints, event.attempts, event.state in ("delivered", "failed"),
                )
                for event in self.events.values()
            },
            "events_due": {tenant: due for tenant, due in self.events_due.items() if due},
            "events_out": self.events_out,
            "events_out_of": {tenant: self.out_of(tenant) for tenant in counted},
            "tenants_due": self.tenants_due,
        }  # fmt: skip


def name_of(wanted: tuple[str, ...]) -> str:
    """Return the id of the webhook of a tenant in these tests."""
    return f"we_{len(wanted)}" if wanted else ""


def _first(moments: dict[str, int], now: int, most: int) -> list[str]:
    return [name for moment, name in sorted((m, n) for n, m in moments.items()) if moment <= now][
        :most
    ]
