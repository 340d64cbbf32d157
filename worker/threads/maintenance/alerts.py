"""Alerts without Prometheus: one signed POST for each notice.

Signed as Standard Webhooks are (https://www.standardwebhooks.com): the receiver checks
`webhook-id`, `webhook-timestamp` and `webhook-signature` against `VISIONQ_ALERT_SECRET`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx2
import structlog
from standardwebhooks import Webhook

from visionq.ledger.metrics import USAGE_DISBELIEVED, read_counters
from visionq.ledger.usage import models_in_use, read_calibrations, split_kind
from visionq.model_migrations import read_migrations
from visionq.names import MAINTENANCE, NOTICES, USAGE_SUBJECT
from visionq.pricing.model_list import read_model_list
from visionq.pricing.models import end_of, warning_for
from visionq.pricing.money import rubles
from worker.provider.provider_client import BoundedClient
from worker.threads.maintenance.scheduler import is_due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import date
    from decimal import Decimal

    from redis import Redis

    from visionq.settings import Settings

log = structlog.get_logger(__name__)

#: Seconds for one delivery.
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Alert:
    """An event that an operator should know."""

    #: The same for the same event, so that a receiver can drop what it has seen.
    id: str
    #: `gate.closed`, `gate.reopening`, `gate.open`, `balance.low`, `budget.low`,
    #: `budget.exhausted`, `tenant.stopped`, `usage.drifted`, `usage.disbelieved`,
    #: `webhook.disabled`, `workers.vanished`, `model.ending`, `batch.stray`.
    type: str
    #: One line for a person: what happened, and what to do.
    message: str
    #: Seconds since the epoch.
    at: float


class AlertSender:
    """Posts alerts to the one address of the settings."""

    def __init__(self, url: str, secret: str) -> None:
        """`secret` is base64, with or without `whsec_` before it; empty: nothing is signed."""
        self._url = url
        self._webhook = Webhook(secret) if secret else None
        self._client = BoundedClient(total=_PATIENCE, timeout=_PATIENCE, follow_redirects=False)

    def send(self, alert: Alert) -> bool:
        """Return whether the receiver took it. The signature is dated when it is sent."""
        body = json.dumps(asdict(alert), ensure_ascii=False)
        headers = {"content-type": "application/json", "webhook-id": alert.id}
        if self._webhook is not None:
            moment = datetime.now(UTC)
            headers["webhook-timestamp"] = str(int(moment.timestamp()))
            headers["webhook-signature"] = self._webhook.sign(alert.id, moment, body)
        try:
            # What the receiver has to say is not read, hence `stream`.
            with self._client.stream(
                "POST", self._url, content=body.encode(), headers=headers
            ) as response:
                status = response.status_code
        except httpx2.HTTPError as error:
            log.warning("alert.failed", alert=alert.type, error=str(error) or type(error).__name__)
            return False
        if not (is_success := httpx2.codes.is_success(status)):
            log.warning("alert.refused", alert=alert.type, status=status)
        return is_success


def make_sender(settings: Settings) -> AlertSender | None:
    """Return a sender, or None where no address is set."""
    if settings.alert_url is None:
        return None
    secret = settings.alert_secret.get_secret_value() if settings.alert_secret else ""
    return AlertSender(settings.alert_url.get_secret_value(), secret)


#: Seconds: one process at a time tells.
_NOTICES_INTERVAL: Final = 4
#: Seconds after which news is old, and nobody is woken for it.
_TOO_OLD: Final = 600

_GATE_ADVICE: Final = {
    "closed": "no call goes out ({reason}). Jobs wait, and go on by themselves; `visionq doctor`.",
    "reopening": "calls go out again, a few at first.",
    "open": "calls go out as usual.",
}


@dataclass(frozen=True)
class Notices:
    """Sends new notices as alerts; failed deliveries are retried."""

    redis: Redis
    sender: AlertSender
    clock: Callable[[], float]

    def run(self) -> None:
        """Send every new notice, in order, until one can't be delivered."""
        if not is_due(self.redis, "notices", _NOTICES_INTERVAL):
            return
        seen = self.redis.get(f"{MAINTENANCE}notices-seen")
        after = f"({seen.decode()}" if isinstance(seen, bytes) else "-"
        entries: Any = self.redis.xrange(NOTICES, min=after, count=100)
        for group in _grouped(entries):
            alert = _alert_of(group)
            if self.clock() - alert.at < _TOO_OLD and not self.sender.send(alert):
                return
            self.redis.set(f"{MAINTENANCE}notices-seen", group[-1][0])


@dataclass(frozen=True)
class LowBalance:
    """Send one alert when a key's balance falls below the line, the next after a recovery."""

    redis: Redis
    #: Id of the key.
    key: str
    sender: AlertSender
    clock: Callable[[], float]
    line: Decimal

    def check(self, balance: Decimal) -> None:
        """Compare a balance with the line."""
        sent = f"{MAINTENANCE}balance-low:{self.key}"
        if balance >= self.line or (
            self.redis.set(sent, str(balance), nx=True)
            and not self.sender.send(self._alert(balance))
        ):
            self.redis.delete(sent)

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


def _alert_of(group: list[_Entry]) -> Alert:
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
    if kind in _MESSAGES:
        name, message = _MESSAGES[kind]
        message = message.format(scope=scope, reason=reason)
        return Alert(f"{name}-{number}", f"{name}.{state}", message, at)
    advice = _GATE_ADVICE[state].format(reason=reason)
    return Alert(f"gate-{number}", f"gate.{state}", f"the gate is {state}: {advice}", at)


#: Kind of a notice's subject → what its alert is about, and its message.
_MESSAGES: Final = {
    "waste": (
        "tenant",
        (
            "of the last paid answers of tenant {scope} {reason} failed, and it is stopped:"
            " `visionq budget waste show` says why, and `visionq budget waste release --tenant"
            " {scope}` lets it go on"
        ),
    ),
    "provider-batch": (
        "batch",
        (
            "the provider had batch {scope}, which is ours and in no record: it was stopped;"
            " {reason} of its lines were answered, and are paid"
        ),
    ),
    "webhook": (
        "webhook",
        (
            "the webhook of tenant {scope} answered {reason} and gets no more events;"
            " `visionq webhooks set --tenant {scope} URL` turns it on again"
        ),
    ),
}


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


#: Days before the end, one alert each.
DAYS_AHEAD: Final = (60, 14, 3)
#: Seconds: one process of the fleet looks.
_ENDINGS_INTERVAL: Final = 3600
#: Time after the end for which sent alerts are remembered.
_REMEMBERED: Final = timedelta(days=30)
_ENDING_ADVICE: Final = (
    "`visionq models migrate {model} {other}` compares another over your own questions, and moves"
    " jobs there"
)


@dataclass(frozen=True)
class ModelEndings:
    """Sends an alert 60, 14 and 3 days before a model ends that jobs are for, or were lately."""

    redis: Redis
    sender: AlertSender
    clock: Callable[[], float]
    #: The model of jobs that name none, whether there are any or not.
    default_model: str

    def run(self) -> None:
        """Check about once an hour; send undelivered alerts the next time."""
        if not is_due(self.redis, "model-endings", _ENDINGS_INTERVAL):
            return
        listed = read_model_list(self.redis)
        dates = listed.ends if listed is not None else {}
        default = read_migrations(self.redis).model_of(None, None, self.default_model)
        for model in sorted(models_in_use(self.redis, self.clock()) | {default}):
            self._warn(model, dates)

    def _warn(self, model: str, dates: Mapping[str, date]) -> None:
        """Send one alert for the line crossed last, also across restarts."""
        now = datetime.fromtimestamp(self.clock(), UTC)
        end = end_of(model, dates)
        days = end.days_left(now.date()) if end is not None else 0
        lines = [line for line in DAYS_AHEAD if 0 < days <= line]
        if end is None or not lines:
            return
        name, line = f"{MAINTENANCE}model-ending:{model}:{end.on}", min(lines)
        sent = self.redis.get(name)
        if isinstance(sent, bytes) and int(sent) <= line:
            return
        advice = _ENDING_ADVICE.format(model=model, other=end.replacement or "OTHER")
        message = f"{warning_for(model, now.date(), dates)}; {advice}"
        number = f"model-ending-{model}-{end.on}-{line}"
        if self.sender.send(Alert(number, "model.ending", message, now.timestamp())):
            until = datetime.combine(end.on, datetime.min.time(), UTC) + _REMEMBERED
            self.redis.set(name, line, exat=int(until.timestamp()))


#: Seconds: one process at a time looks.
_DRIFT_INTERVAL: Final = 60
_MOST_NOTICES: Final = 1000


@dataclass(frozen=True)
class Drift:
    """Leaves one notice when a model's usage drifts from the table, the next after a recovery."""

    redis: Redis

    def run(self) -> None:
        """Check about once a minute."""
        if not is_due(self.redis, "drift", _DRIFT_INTERVAL):
            return
        for kind, calibration in read_calibrations(self.redis).items():
            sent = f"{MAINTENANCE}drift:{kind}"
            if calibration is None or not calibration.has_drifted:
                self.redis.delete(sent)
            elif self.redis.set(sent, f"{calibration.factor:.3f}", nx=True):
                factor = f"{calibration.factor:.2f}"
                log.warning("usage.drifted", kind=kind, factor=factor)
                _leave_notice(self.redis, kind, "drifted", factor)


@dataclass(frozen=True)
class Disbelief:
    """Leaves a notice when calls report impossible usage: one for each run and model."""

    redis: Redis

    def run(self) -> None:
        """Check about once a minute."""
        if not is_due(self.redis, "disbelief", _DRIFT_INTERVAL):
            return
        for (model,), calls in read_counters(self.redis).of(USAGE_DISBELIEVED, 1).items():
            known = f"{MAINTENANCE}disbelief:{model}"
            sent: Any = self.redis.get(known)
            if calls > int(sent or 0):
                log.warning("usage.disbelieved", model=model, calls=calls)
                _leave_notice(self.redis, model, "disbelieved", str(calls - int(sent or 0)))
                self.redis.set(known, calls)


def _leave_notice(redis: Redis, subject: str, state: str, reason: str) -> None:
    notice = {"subject": USAGE_SUBJECT + subject, "state": state, "reason": reason}
    redis.xadd(NOTICES, notice, maxlen=_MOST_NOTICES)  # type: ignore[arg-type] # dict is invariant
