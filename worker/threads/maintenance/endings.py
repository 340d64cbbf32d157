"""Telling an operator before a model that is in use ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from visionq.ledger.usage import models_in_use
from visionq.names import MAINTENANCE
from visionq.pricing.model_list import read_model_list
from visionq.pricing.models import end_of, warning_for
from worker.threads.maintenance.alerts import Alert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from redis import Redis

    from worker.threads.maintenance.alerts import AlertSender

#: Days before the end, each told once.
DAYS_AHEAD: Final = (60, 14, 3)
#: Seconds: one process of the fleet looks.
_REST: Final = 3600
#: Seconds after the end for which it is remembered what was told.
_REMEMBERED: Final = timedelta(days=30)
_ADVICE: Final = "choose another in VISIONQ_DEFAULT_MODEL and in jobs that name it"


@dataclass(frozen=True)
class ModelEndings:
    """Sends an alert 60, 14 and 3 days before a model ends that jobs are for, or were lately."""

    redis: Redis
    sender: AlertSender
    clock: Callable[[], float]
    #: The model of jobs that name none, whether there are any or not.
    default_model: str

    def run(self) -> None:
        """Look about once an hour; an alert that can't be delivered is sent the next time."""
        if not self.redis.set(f"{MAINTENANCE}model-endings", "1", ex=_REST, nx=True):
            return
        listed = read_model_list(self.redis)
        dates = listed.ends if listed is not None else {}
        for model in sorted(models_in_use(self.redis, self.clock()) | {self.default_model}):
            self._tell(model, dates)

    def _tell(self, model: str, dates: Mapping[str, date]) -> None:
        """Tell of the line that was crossed last, once, whatever was told of it in restarts."""
        now = datetime.fromtimestamp(self.clock(), UTC)
        end = end_of(model, dates)
        days = end.days_left(now.date()) if end is not None else 0
        lines = [line for line in DAYS_AHEAD if 0 < days <= line]
        if end is None or not lines:
            return
        name, line = f"{MAINTENANCE}model-ending:{model}:{end.on}", min(lines)
        told = self.redis.get(name)
        if isinstance(told, bytes) and int(told) <= line:
            return
        message = f"{warning_for(model, now.date(), dates)}; {_ADVICE}"
        number = f"model-ending-{model}-{end.on}-{line}"
        if self.sender.send(Alert(number, "model.ending", message, now.timestamp())):
            until = datetime.combine(end.on, datetime.min.time(), UTC) + _REMEMBERED
            self.redis.set(name, line, exat=int(until.timestamp()))
