"""The states of a job and the moves between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """In its lane, or on its way to a worker."""
    IN_PROGRESS = "in_progress"
    """A worker holds its lease."""
    WAITING = "waiting"
    """Comes back by itself: at a known time, or when other calls have ended."""
    PARKED = "parked"
    """Comes back when somebody or something acts: balance, access, unknown billing."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in TERMINAL


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
    State.WAITING: frozenset({State.QUEUED, State.PARKED, State.CANCELLED}),
    # Waiting: back in its lane, it does not fit into what its budget leaves now.
    State.PARKED: frozenset({State.QUEUED, State.WAITING, State.FAILED, State.CANCELLED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
