"""The states of a job, their transitions, and reasons for delay."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from visionq import errors


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    """In its lane, or on its way to a worker."""
    IN_PROGRESS = "in_progress"
    """A worker holds its lease."""
    WAITING = "waiting"
    """Comes back by itself: at a known time, or when other calls have ended."""
    PARKED = "parked"
    """Comes back when its cause is gone: balance, access, unknown billing."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in TERMINAL


#: The ledger's own state of a job whose hint is on its way; people see it as queued.
HINTED: Final = "hinted"
#: The ledger's word for a job that it does not know.
MISSING: Final = "missing"


def shown_state(stored: str) -> State | None:
    """Return the public state for a ledger state; None for an unknown job."""
    if stored == MISSING:
        return None
    return State.QUEUED if stored == HINTED else State(stored)


class DelayReason(StrEnum):
    """Why a job waits, is parked, or stays queued. Transient errors use their code.

    Lua scripts, metrics and alerts take these names from here. An operator who closes a gate may
    write a reason of their own.
    """

    FOLLOWS = "follows"
    """Another job asks the same; its answer serves both."""
    REPAIR = "repair"
    """The answer came in the wrong form: the next call corrects it."""
    BUDGET = "budget"
    """It fits its budget once calls that are out cost less than reserved."""
    BATCH = "batch"
    """Its line is in a batch at the provider, or goes into the next one."""
    NEWER_WORKER_NEEDED = "newer_worker_needed"
    """No worker that runs can read its document."""
    OPERATOR = "operator"
    """An operator closed the gate."""
    WASTE = "waste"
    """Too many of its tenant's paid answers failed: an operator has to release it."""
    BUDGET_EXHAUSTED = errors.BudgetExhausted.code
    BILLING_UNKNOWN = errors.BillingUnknown.code
    RATE_LIMITED = errors.RateLimited.code
    PROVIDER_UNAVAILABLE = errors.ProviderUnavailable.code
    MODEL_NOT_FOUND = errors.ModelNotFound.code
    INSUFFICIENT_BALANCE = errors.InsufficientBalance.code
    KEY_REJECTED = errors.KeyRejected.code
    ACCESS_DENIED = errors.AccessDenied.code
    DOWNLOAD_FAILED = errors.DownloadFailed.code
    QUEUE_UNAVAILABLE = errors.QueueUnavailable.code
    INTERNAL_ERROR = errors.InternalError.code


TERMINAL: Final = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.QUEUED: frozenset(
        {
            State.IN_PROGRESS,
            State.WAITING,  # calls that are out leave its budget no room
            State.PARKED,  # a gate, a hold or a budget keeps it back, or it needs a newer worker
            State.FAILED,  # its deadline passed
            State.CANCELLED,
        }
    ),
    State.IN_PROGRESS: frozenset(
        {
            State.QUEUED,  # its lease lapsed, or its lane is held
            State.WAITING,
            State.PARKED,
            State.COMPLETED,
            State.FAILED,
            State.CANCELLED,
        }
    ),
    State.WAITING: frozenset(
        {
            State.QUEUED,
            State.IN_PROGRESS,  # the line of its batch has come back
            State.PARKED,
            State.CANCELLED,
        }
    ),
    # Waiting: back in its lane, it does not fit into what its budget leaves now.
    State.PARKED: frozenset({State.QUEUED, State.WAITING, State.FAILED, State.CANCELLED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
