"""From the notices that the ledger's scripts leave to the alerts that an operator gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from visionq.ledger.usage import split_kind
from visionq.names import MAINTENANCE, NOTICES, USAGE_SUBJECT
from visionq.pricing.money import rubles
from worker.threads.maintenance.alerts import Alert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from decimal import Decimal

    from redis import Redis

    from worker.threads.maintenance.alerts import AlertSender

#: Seconds: one process at a time tells.
_REST: Final = 4
#: Seconds after which news is old, and nobody is woken for it.
_TOO_OLD: Final = 600
_BALANCE_REST: Final = 60

_GATE_ADVICE: Final = {
    "closed": "no call goes out ({reason}). Jobs wait, and go on by themselves; `visionq doctor`.",
    "reopening": "calls go out again, a few at first.",
    "open": "calls go out as usual.",
}


@dataclass(frozen=True)
class Notices:
    """Sends what has been noted since the last time; a delivery that fails is tried again."""

    redis: Redis
    sender: AlertSender
    clock: Callable[[], float]

    def run(self) -> None:
        """Send every new notice, in order, until one can't be delivered."""
        if not self.redis.set(f"{MAINTENANCE}notices", "1", ex=_REST, nx=True):
            return
        seen = self.redis.get(f"{MAINTENANCE}notices-seen")
        after = f"({seen.decode()}" if isinstance(seen, bytes) else "-"
        entries: Any = self.redis.xrange(NOTICES, min=after, count=100)
        for group in _grouped(entries):
            alert = _alert(group)
            if self.clock() - alert.at < _TOO_OLD and not self.sender.send(alert):
                return
            self.redis.set(f"{MAINTENANCE}notices-seen", group[-1][0])


@dataclass(frozen=True)
class LowBalance:
    """Tells once when the balance falls below the line, and not again before it has recovered."""

    redis: Redis
    sender: AlertSender
    clock: Callable[[], float]
    read_balance: Callable[[], Decimal | None]
    line: Decimal

    def run(self) -> None:
        """Look at the balance about once a minute."""
        if not self.redis.set(f"{MAINTENANCE}balance", "1", ex=_BALANCE_REST, nx=True):
            return
        balance = self.read_balance()
        if balance is None:
            return
        if balance >= self.line or (
            self.redis.set(f"{MAINTENANCE}balance-low", str(balance), nx=True)
            and not self.sender.send(self._alert(balance))
        ):
            self.redis.delete(f"{MAINTENANCE}balance-low")

    def _alert(self, balance: Decimal) -> Alert:
        now = self.clock()
        message = f"{balance} ₽ are left on the account or in the key's budget, below {self.line} ₽"
        return Alert(f"balance-low-{int(now)}", "balance.low", message, now)


_Entry = tuple[bytes, dict[bytes, bytes]]


def _grouped(entries: Iterable[_Entry]) -> list[list[_Entry]]:
    """Put workers that vanished one after another into one group."""
    groups: list[list[_Entry]] = []
    for entry in entries:
        if groups and _is_worker(entry) and _is_worker(groups[-1][0]):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups


def _is_worker(entry: _Entry) -> bool:
    return entry[1][b"subject"].startswith(b"worker:")


def _alert(group: list[_Entry]) -> Alert:
    entry_id, fields = group[-1]
    number, at = entry_id.decode(), int(entry_id.split(b"-")[0]) / 1000
    if _is_worker(group[-1]):
        names = ", ".join(entry[b"subject"].decode().partition(":")[2] for _, entry in group)
        message = f"no sign of life from {names}; their jobs run elsewhere where others are left"
        return Alert(f"workers-{number}", "workers.vanished", message, at)
    state, reason = fields[b"state"].decode(), fields[b"reason"].decode()
    subject = fields[b"subject"].decode()
    if subject.startswith(USAGE_SUBJECT):
        message = _usage_message(subject.removeprefix(USAGE_SUBJECT), state, reason)
        return Alert(f"usage-{number}", f"usage.{state}", message, at)
    kind, _, scope = subject.partition(":")
    if kind == "budget":
        message = _budget_message(scope, state, reason)
        return Alert(f"budget-{number}", f"budget.{state}", message, at)
    if kind == "webhook":
        message = (
            f"the webhook of tenant {scope} answered {reason} and is told no more;"
            f" `visionq webhooks set --tenant {scope} URL` has it told again"
        )
        return Alert(f"webhook-{number}", f"webhook.{state}", message, at)
    advice = _GATE_ADVICE[state].format(reason=reason)
    return Alert(f"gate-{number}", f"gate.{state}", f"the gate is {state}: {advice}", at)


def _usage_message(subject: str, state: str, reason: str) -> str:
    if state == "disbelieved":
        return (
            f"{subject}: of {reason} calls the provider says that they counted more tokens, or"
            " cost more, than they can; they are settled by our own figures, compare with its bill"
        )
    model, detail, effort = split_kind(subject)
    thinking = f", effort {effort}" if effort else ""
    return (
        f"{model} at detail {detail}{thinking} counts {reason} of the tokens that were forecast;"
        " forecasts follow by themselves, look at budgets and at `visionq prices check`"
    )


def _budget_message(scope: str, state: str, reason: str) -> str:
    period, used, limit = reason.split()
    name = scope.replace(":", " ", 1) + ("" if period == "total" else f", {period}")
    paid = f"{rubles(int(used)):f} of {rubles(int(limit)):f} ₽ are used"
    if state == "low":
        return f"budget of {name}: {paid}"
    return (
        f"budget of {name}: {paid}, and what is left does not cover a job, which is parked;"
        " raise it with `visionq budget set`"
    )
