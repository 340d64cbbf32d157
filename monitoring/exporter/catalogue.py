"""Every metric that is served: its name, what it says, and its labels.

Names follow Prometheus: base units, `_total` for what only grows. `docs/metrics.md` explains them
to people, and a test compares both with what a scrape brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.contract import DelayReason, State
from visionq.ledger import metrics as ledger

if TYPE_CHECKING:
    from visionq.ledger.metrics import Histogram


@dataclass(frozen=True, slots=True)
class Gauge:
    """The current value."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of the ledger, under `field`; served as `value * scale`."""

    name: str
    help: str
    field: str
    labels: tuple[str, ...] = ()
    scale: float = 1
    #: Whether its last label is the lane, which fields of the online one don't have.
    by_lane: bool = False
    #: Labels that are shown from the start, so that the first event shows as a rise.
    at_first: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram in seconds."""

    name: str
    help: str
    histogram: Histogram
    labels: tuple[str, ...]


_NANO: Final = 1e-9
_MILLI: Final = 1e-3

UP: Final = Gauge("visionq_up", "1 while Redis answers the exporter; else nothing else is served.")
SCRAPE: Final = Gauge("visionq_scrape_seconds", "Time that reading Redis took for this scrape.")
JOBS: Final = Gauge("visionq_jobs", "Unfinished jobs by state.", ("state",))
PARKED: Final = Gauge(
    "visionq_parked_jobs",
    "Parked jobs by reason, those behind a closed gate included.",
    ("reason",),
)
BACKLOG: Final = Gauge(
    "visionq_backlog_jobs", "Queued jobs of a lane.", ("queue", "tenant", "model")
)
OLDEST: Final = Gauge(
    "visionq_oldest_queued_job_age_seconds", "Age of the oldest queued job.", ("queue",)
)
WORKERS: Final = Gauge("visionq_workers", "Worker processes that gave a sign of life in time.")
SLOTS: Final = Gauge("visionq_worker_slots", "Jobs that all workers can work on at once.")
BUSY: Final = Gauge("visionq_worker_slots_busy", "Slots of workers that are taken.")
GATE: Final = Gauge(
    "visionq_gate_state", "1 for the state of the gate: open, reopening or closed.", ("state",)
)
GATE_REASON: Final = Gauge(
    "visionq_gate_reason", "1 for why the gate is not open; absent while it is.", ("reason",)
)
GATES: Final = Gauge(
    "visionq_key_gates", "Keys of the provider by state of their gate.", ("state",)
)
HOLDS: Final = Gauge(
    "visionq_holds", "Models and tenants whose lanes are held, and models at their rate.", ("kind",)
)
IN_FLIGHT: Final = Gauge("visionq_provider_calls_in_flight", "Calls that are out.", ("model",))
AT_HAND: Final = Gauge("visionq_jobs_at_hand", "Jobs taken and not sent yet.", ("model",))
REQUEST_LIMIT: Final = Gauge(
    "visionq_model_requests_per_minute", "Calls a minute that a model is asked at most.", ("model",)
)
TOKEN_LIMIT: Final = Gauge(
    "visionq_model_tokens_per_minute", "Tokens a minute that a model is asked at most.", ("model",)
)
BALANCE: Final = Gauge(
    "visionq_balance_rubles", "Balance of a key where the provider tells it.", ("key",)
)
BALANCE_READ: Final = Gauge(
    "visionq_balance_read_timestamp_seconds", "When that balance was read.", ("key",)
)
RESERVED: Final = Gauge("visionq_reserved_rubles", "Most that the calls which are out may cost.")
UNKNOWN: Final = Gauge(
    "visionq_unknown_billing_rubles", "Most that calls of unknown billing may have cost."
)
UNKNOWN_CALLS: Final = Gauge("visionq_unknown_billing_calls", "Calls of unknown billing.")
_BUDGET: Final = ("kind", "name", "period")
BUDGET_LIMIT: Final = Gauge("visionq_budget_limit_rubles", "A budget.", _BUDGET)
BUDGET_USED: Final = Gauge(
    "visionq_budget_used_rubles", "Spent or perhaps spent of a budget.", _BUDGET
)
BUDGET_RESERVED: Final = Gauge(
    "visionq_budget_reserved_rubles", "Reserved of a budget by calls that are out.", _BUDGET
)
BUDGET_LEFT: Final = Gauge(
    "visionq_budget_period_left_seconds", "Time until a budget starts again; +Inf: never.", _BUDGET
)
FAILED: Final = Gauge("visionq_failed_jobs_kept", "Failed jobs that can be replayed.")
FINISHED: Final = Gauge("visionq_finished_jobs_kept", "Ended jobs that are listed.")
DEAD_LETTERS: Final = Gauge("visionq_dead_letters", "Messages that no worker could work on.")
MESSAGES: Final = Gauge("visionq_broker_messages", "Messages in a queue of Celery.", ("queue",))
BLOB_BYTES: Final = Gauge("visionq_blob_bytes", "Bytes of the pictures that are kept in Redis.")
MEMORY: Final = Gauge("visionq_redis_memory_bytes", "Memory that Redis uses.")
MEMORY_LIMIT: Final = Gauge("visionq_redis_memory_limit_bytes", "Its `maxmemory`; 0: none.")
BATCHES: Final = Gauge("visionq_provider_batches", "Batches that are not done.", ("state",))
BATCH_LINES: Final = Gauge(
    "visionq_provider_batch_lines", "Lines of these batches that are not settled."
)
OLDEST_BATCH: Final = Gauge(
    "visionq_oldest_provider_batch_age_seconds",
    "Time since the provider took the oldest batch that is not done.",
)
PACKERS: Final = Gauge("visionq_packers", "Keys of the provider for which a worker packs batches.")
FILES_LEFT: Final = Gauge(
    "visionq_provider_files_left", "Files of ended batches that the provider did not delete."
)
MODEL_END: Final = Gauge(
    "visionq_model_end_timestamp_seconds",
    "When a model that is in use ends, as far as that is announced.",
    ("model",),
)

GAUGES: Final = tuple(value for value in list(globals().values()) if isinstance(value, Gauge))

_OWNED: Final = ("tenant", "model")
ENDED: Final = Counter(
    "visionq_jobs_ended_total",
    "Jobs that ended, by state and, of failed ones, by code.",
    "ended",
    ("state", *_OWNED, "code"),
)
SUBMITTED: Final = Counter(
    "visionq_jobs_submitted_total", "Jobs that were entered.", "submitted", _OWNED
)
CALLS: Final = Counter(
    "visionq_provider_calls_total",
    "Calls by HTTP status (none: no whole reply) and error code (ok: an answer).",
    "calls",
    ("model", "status", "code", "lane"),
    by_lane=True,
)
COUNTERS: Final = (
    SUBMITTED,
    ENDED,
    CALLS,
    Counter(
        "visionq_jobs_delayed_total",
        "Times that a job was put off, by state and reason.",
        "delayed",
        ("state", "reason"),
        at_first=(
            (State.WAITING, DelayReason.RATE_LIMITED),
            (State.PARKED, DelayReason.BILLING_UNKNOWN),
            (State.PARKED, DelayReason.BUDGET_EXHAUSTED),
        ),
    ),
    Counter(
        "visionq_jobs_requeued_total",
        "Jobs that came back into their lane, by the state they come from.",
        "requeued",
        ("from_state",),
        at_first=(("in_progress",), ("waiting",)),
    ),
    Counter(
        "visionq_jobs_moved_total",
        "Jobs that went on to another of the models that they name, by why.",
        "moved",
        ("from_model", "to_model", "reason"),
    ),
    Counter(
        "visionq_leases_lost_total",
        "Jobs taken from workers that fell silent, by whether a call was out.",
        "leases_lost",
        ("call",),
        at_first=(("sent",), ("unsent",)),
    ),
    Counter(
        "visionq_endings_fenced_total",
        "Ends that came too late: the job was in other hands.",
        "fenced",
        at_first=((),),
    ),
    Counter(
        "visionq_hints_repeated_total",
        "Hints sent again because nobody claimed the job.",
        "hints_repeated",
        at_first=((),),
    ),
    Counter(
        "visionq_jobs_forgotten_total",
        "Jobs that an emptied Redis had lost and their owner submitted again.",
        "jobs_forgotten",
        at_first=((),),
    ),
    Counter(
        "visionq_workers_vanished_total",
        "Workers that fell silent without taking their leave.",
        "workers_vanished",
        at_first=((),),
    ),
    Counter(
        "visionq_worker_loop_blocked_total",
        "Times that a worker's event loop took no turn for more than 100 ms; its log says where.",
        "loop_blocked",
        at_first=((),),
    ),
    Counter(
        "visionq_webhook_tries_total",
        "Tries to tell a webhook: delivered, waiting (to be tried again) or failed.",
        "webhooks",
        ("outcome",),
        at_first=(("delivered",), ("waiting",), ("failed",)),
    ),
    Counter(
        "visionq_limiter_waits_total",
        "Times that a call waited for its turn.",
        "limiter_waits",
        ("model",),
    ),
    Counter(
        "visionq_limiter_wait_seconds_total",
        "Time that calls waited for their turn.",
        "limiter_wait_ms",
        ("model",),
        _MILLI,
    ),
    Counter(
        "visionq_answers_total",
        "Answers by where they come from: provider, stored (reused), near (a near one's) or late.",
        "answers",
        (*_OWNED, "source", "lane"),
        by_lane=True,
    ),
    Counter(
        "visionq_tokens_total",
        "Tokens that were counted: input, cached_input, cache_write, output, reasoning.",
        "tokens",
        (*_OWNED, "kind"),
    ),
    Counter(
        "visionq_usage_disbelieved_total",
        "Calls said to have counted or cost more than they can: settled by our own figures.",
        ledger.USAGE_DISBELIEVED,
        ("model",),
    ),
    Counter(
        "visionq_spent_rubles_total",
        "Paid for calls, by the lane in which they were made.",
        ledger.SPENT,
        (*_OWNED, "lane"),
        _NANO,
        by_lane=True,
    ),
    Counter("visionq_saved_rubles_total", "Saved by stored answers.", "saved", _OWNED, _NANO),
    Counter(
        "visionq_batch_lines_total",
        "Lines of batches by what became of them: answered, refused, expired (not asked), unknown.",
        ledger.BATCH_LINES,
        ("model", "outcome"),
    ),
    Counter("visionq_pictures_total", "Pictures prepared, by format.", "pictures", ("format",)),
    Counter(
        "visionq_picture_bytes_total",
        "Bytes of pictures as they came (source) and as they were sent (sent).",
        "picture_bytes",
        ("stage",),
        at_first=(("source",), ("sent",)),
    ),
)

HISTOGRAMS: Final = (
    Durations(
        "visionq_provider_call_duration_seconds",
        "From sending a call to the end of its answer, but at the flex tier.",
        ledger.CALL_SECONDS,
        ("model",),
    ),
    Durations(
        "visionq_flex_call_duration_seconds",
        "From sending a call at the flex tier to the end of its answer.",
        ledger.FLEX_CALL_SECONDS,
        ("model",),
    ),
    Durations(
        "visionq_picture_stage_duration_seconds",
        "Work on the pictures of one job, by stage: load, check or encode.",
        ledger.STAGE_SECONDS,
        ("stage",),
    ),
    Durations(
        "visionq_job_duration_seconds",
        "From submission to the answer, of jobs that have one.",
        ledger.JOB_SECONDS,
        ("priority", "lane"),
    ),
)

ALL: Final[tuple[Gauge | Counter | Durations, ...]] = (*GAUGES, *COUNTERS, *HISTOGRAMS)
