"""From what Redis says to what Prometheus reads."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import structlog
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from monitoring.exporter import catalogue
from monitoring.exporter.snapshot import label_of, read_fleet
from visionq.contract import HINTED, State
from visionq.ledger import Period
from visionq.ledger.metrics import LANES
from visionq.ledger.provider_batches import BatchState
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from monitoring.exporter.catalogue import Counter, Durations, Gauge
    from monitoring.exporter.snapshot import Fleet
    from visionq.ledger import Book, Ledger
    from visionq.ledger.metrics import Counters

log = structlog.get_logger(__name__)

_STATES: Final = (State.QUEUED, HINTED, State.IN_PROGRESS, State.WAITING, State.PARKED)
_GATE_STATES: Final = ("open", "reopening", "closed")
_HOLDS: Final = ("model", "tenant", "pace")


class FleetCollector(Collector):
    """Reads Redis at each scrape, one scrape at a time."""

    def __init__(self, ledger: Ledger, monotonic: Callable[[], float]) -> None:
        self._ledger = ledger
        self._monotonic = monotonic
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: Redis may be away when the exporter starts."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return every metric; only `visionq_up` while Redis does not answer."""
        with self._lock:
            started = self._monotonic()
            try:
                fleet = read_fleet(self._ledger)
            except RedisError as error:
                log.warning("scrape.redis_failed", error=str(error))
                yield _gauge(catalogue.UP, {(): 0})
                return
            seconds = self._monotonic() - started
        yield _gauge(catalogue.UP, {(): 1})
        yield _gauge(catalogue.SCRAPE, {(): seconds})
        yield from _standing(fleet)
        yield from _money(fleet, self._ledger.options.time_zone)
        yield from _storage(fleet)
        yield from _batches(fleet)
        yield from (_counter(one, fleet.counters) for one in catalogue.COUNTERS)
        yield from (_histogram(one, fleet.counters) for one in catalogue.HISTOGRAMS)


def _standing(fleet: Fleet) -> Iterator[Metric]:
    yield _gauge(catalogue.JOBS, {(str(state),): fleet.counts.get(state, 0) for state in _STATES})
    yield _gauge(catalogue.PARKED, {(reason,): jobs for reason, jobs in fleet.parked.items()})
    yield _gauge(catalogue.BACKLOG, fleet.backlog)
    yield _gauge(catalogue.OLDEST, {(queue,): age for queue, age in fleet.oldest.items()})
    yield _gauge(catalogue.WORKERS, {(): fleet.workers})
    yield _gauge(catalogue.SLOTS, {(): fleet.slots})
    yield _gauge(catalogue.BUSY, {(): fleet.busy})
    gate = fleet.gate
    yield _gauge(catalogue.GATE, {(state,): state == gate.state for state in _GATE_STATES})
    why = label_of(gate.reason)
    yield _gauge(catalogue.GATE_REASON, {(why,): 1} if gate.state != "open" else {})
    states = [key.state for key in gate.keys]
    yield _gauge(catalogue.GATES, {(state,): states.count(state) for state in _GATE_STATES})
    held = [scope.partition(":")[0] for scope in gate.held] + ["pace"] * len(gate.paced)
    yield _gauge(catalogue.HOLDS, {(kind,): held.count(kind) for kind in _HOLDS})
    yield _gauge(catalogue.IN_FLIGHT, {(m,): out for m, (out, _) in fleet.at_work.items()})
    yield _gauge(catalogue.AT_HAND, {(m,): at_hand for m, (_, at_hand) in fleet.at_work.items()})
    paces = [rate_limit for rate_limit in fleet.paces if rate_limit.model in fleet.counters.models]
    yield _gauge(
        catalogue.REQUEST_LIMIT,
        {(one.model,): one.requests_per_minute for one in paces if one.requests_per_minute},
    )
    yield _gauge(
        catalogue.TOKEN_LIMIT,
        {(one.model,): one.tokens_per_minute for one in paces if one.tokens_per_minute},
    )
    yield _gauge(catalogue.MODEL_END, {(model,): end for model, end in fleet.model_ends.items()})


def _batches(fleet: Fleet) -> Iterator[Metric]:
    states = [one.state for one in fleet.batches]
    open_states = [str(state) for state in BatchState if state is not BatchState.DONE]
    yield _gauge(catalogue.BATCHES, {(state,): states.count(state) for state in open_states})
    yield _gauge(catalogue.BATCH_LINES, {(): fleet.batch_lines})
    out = [one.out_at.timestamp() for one in fleet.batches if one.out_at]
    yield _gauge(catalogue.OLDEST_BATCH, {(): max(0.0, fleet.now - min(out)) if out else 0})
    yield _gauge(catalogue.PACKERS, {(): fleet.packers})
    yield _gauge(catalogue.FILES_LEFT, {(): fleet.files_left})


def _money(fleet: Fleet, time_zone: str) -> Iterator[Metric]:
    money = fleet.money
    yield _gauge(catalogue.RESERVED, {(): _rubles(money.get("reserved", 0))})
    yield _gauge(catalogue.UNKNOWN, {(): _rubles(money.get("unknown", 0))})
    yield _gauge(catalogue.UNKNOWN_CALLS, {(): money.get("unknown_calls", 0)})
    # Of a key that no worker holds any more nobody reads the balance.
    held = {key.key for key in fleet.gate.keys}
    balances = {key: read for key, read in fleet.balances.items() if key in held}
    yield _gauge(catalogue.BALANCE, {(key,): _rubles(nano) for key, (nano, _) in balances.items()})
    yield _gauge(catalogue.BALANCE_READ, {(key,): moment for key, (_, moment) in balances.items()})
    books: dict[tuple[str, ...], Book] = {
        (book.scope.kind, book.scope.name, book.scope.period.value): book for book in fleet.budgets
    }
    limits = {
        scope: float(book.limit_rub) for scope, book in books.items() if book.limit_rub is not None
    }
    yield _gauge(catalogue.BUDGET_LIMIT, limits)
    used = {scope: float(book.settled_rub + book.unknown_rub) for scope, book in books.items()}
    yield _gauge(catalogue.BUDGET_USED, used)
    reserved = {scope: float(book.reserved_rub) for scope, book in books.items()}
    yield _gauge(catalogue.BUDGET_RESERVED, reserved)
    left = {
        scope: period_left(book.scope.period, fleet.now, time_zone) for scope, book in books.items()
    }
    yield _gauge(catalogue.BUDGET_LEFT, left)


def period_left(period: Period, now: float, time_zone: str) -> float:
    """Return the seconds until a budget starts again in the operator's time zone; inf: never."""
    if period is Period.TOTAL:
        return math.inf
    local = datetime.fromtimestamp(now, ZoneInfo(time_zone))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period is Period.DAY:
        end = midnight + timedelta(days=1)
    else:
        # Any day of the next month, brought back to its first.
        end = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return end.astimezone(UTC).timestamp() - now


def _storage(fleet: Fleet) -> Iterator[Metric]:
    failed, finished, dead_letters = fleet.lengths
    yield _gauge(catalogue.FAILED, {(): failed})
    yield _gauge(catalogue.FINISHED, {(): finished})
    yield _gauge(catalogue.DEAD_LETTERS, {(): dead_letters})
    yield _gauge(catalogue.MESSAGES, {(queue,): size for queue, size in fleet.messages.items()})
    yield _gauge(catalogue.BLOB_BYTES, {(): fleet.blob_bytes})
    yield _gauge(catalogue.MEMORY, {(): fleet.memory})
    yield _gauge(catalogue.MEMORY_LIMIT, {(): fleet.memory_limit})


def _rubles(nano: int) -> float:
    return float(rubles(nano))


def _gauge(metric: Gauge, samples: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family


def _counter(metric: Counter, counters: Counters) -> Metric:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    read = counters.by_lane if metric.by_lane else counters.of
    counted = read(metric.field, len(metric.labels))
    for labels in (*metric.at_first, *_expected(metric, counters)):
        counted.setdefault(labels, 0)
    for labels, value in counted.items():
        family.add_metric(labels, value * metric.scale)
    return family


def _expected(metric: Counter, counters: Counters) -> Iterable[tuple[str, ...]]:
    """Return labels that are shown before anything is counted: the first shows as a rise."""
    submitted = counters.of(catalogue.SUBMITTED.field, len(catalogue.SUBMITTED.labels))
    if metric is catalogue.ENDED:
        return [(State.COMPLETED.value, *owner, "") for owner in submitted]
    if metric is catalogue.CALLS:
        return {(model, "200", "ok", LANES[0]) for _, model in submitted}
    return ()


def _histogram(metric: Durations, counters: Counters) -> Metric:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*(f"{bound:g}" for bound in metric.histogram.bounds), "+Inf"]
    for labels, (sizes, seconds) in counters.sizes(metric.histogram).items():
        own = (*labels, LANES[0]) if len(labels) < len(metric.labels) else labels
        buckets = list(zip(bounds, accumulate(sizes), strict=True))
        family.add_metric(own, buckets, seconds)
    return family
