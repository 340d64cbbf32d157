"""What only the pipeline knows to go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionq.ledger import Parked, Waiting


class FencedError(Exception):
    """The job is not this attempt's any more: nothing is to be called or written for it."""

    #: It is no fault, for whoever looks at errors.
    is_fault = False


class GivenBackError(Exception):
    """The ledger did not let the call go and has taken the job back in the same step."""

    #: Likewise.
    is_fault = False

    def __init__(self, outcome: Waiting | Parked) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
