"""Settle the lines of an ended batch, each once, however often this restarts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.contract import DelayReason
from visionq.errors import RequestRejected, VisionqError
from visionq.ledger import Billing, Held, Waiting
from visionq.ledger.metrics import BATCH_LINES, LINE_OUTCOMES, MODEL, add
from visionq.ledger.provider_batches import drop_lines, lines_left, lines_of, recall, reroute
from worker.packing.filling import attempt_of
from worker.pipeline import settle_line
from worker.pipeline.telemetry import counted_by
from worker.provider.request import PATHS, ProviderRequest
from worker.work import write_ending

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from visionq.contract import Api
    from visionq.ledger import Claim, Ending, Ledger, Registration
    from visionq.ledger.provider_batches import BatchRecord, StoredLine
    from visionq.providers import ProviderProfile
    from worker.pipeline import Dependencies
    from worker.provider.batch_files import BatchLineResult

log = structlog.get_logger(__name__)

#: Lines that are in our hands at once: their leases must outlast the writing of their ends.
_AT_ONCE: Final = 50
_LEASE: Final = 60.0


@dataclass(frozen=True)
class Settling:
    """The dependencies of settling in one process."""

    ledger: Ledger
    dependencies: Dependencies
    #: Runs a task of the process's event loop to its end.
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    registration: Registration
    clock: Callable[[], float]
    #: To be called between lines.
    progress: Callable[[], None]

    def settle(self, batch: BatchRecord, lines: Iterable[BatchLineResult]) -> int:
        """Settle each line; return the number of answered ones.

        One that is settled already, or that nobody knows, is passed over.
        """
        answered = 0
        for few in _portions(lines):
            told = {line.custom_id: line for line in reversed(few)}
            stored = lines_of(self.ledger.redis, batch.id, list(told))
            answered += self._finish(batch, stored, told)
        return answered

    def settle_rest(
        self, batch: BatchRecord, rest: BatchLineResult, *, online: bool = False
    ) -> int:
        """End every line that is left as `rest` says; return how many.

        With `online`, their jobs are asked online from now on.
        """
        count = 0
        while few := next(lines_left(self.ledger.redis, batch.id), None):
            some = few[:_AT_ONCE]
            told = {one.token: replace(rest, custom_id=one.token) for one in some}
            self._finish(batch, some, told, online=online)
            count += len(some)
        return count

    def _finish(
        self,
        batch: BatchRecord,
        stored: list[StoredLine],
        told: dict[str, BatchLineResult],
        *,
        online: bool = False,
    ) -> int:
        if not stored:
            return 0
        ledger, answered = self.ledger, 0
        claims = ledger.make(recall(batch.id, self.registration, _LEASE, stored))
        if online:
            ledger.make(reroute(one.job for one in stored))
        for one, claim in zip(stored, claims, strict=True):
            self.progress()
            line = told[one.token]
            if claim is not None and self.run(self._end(claim, one.text, line)):
                answered += 1
        ledger.make(drop_lines(batch.id, [one.token for one in stored]))
        return answered

    async def _end(self, claim: Claim, text: str, line: BatchLineResult) -> bool:
        """Write the end of one line; returns whether the model answered it."""
        attempt = attempt_of(claim, text, self.dependencies)
        with structlog.contextvars.bound_contextvars(job=claim.id, tenant=claim.document.tenant):
            ending = await settle_line(attempt, line, self.clock())
            if isinstance(ending.outcome, Held):
                # Hours later it tells nothing of the key: an online call finds out.
                waits = Waiting(DelayReason.BATCH, 0, counted=True)
                ending = replace(ending, outcome=waits)
            counted = counted_by(attempt, ending)
            add(counted, 1, BATCH_LINES, MODEL, _outcome(line, ending))
            ending = replace(ending, counted=counted)
            await write_ending(claim, ending, self.dependencies)
            self.dependencies.statistics.add(claim.document, ending)
        return ending.billing is Billing.SETTLED


def _outcome(line: BatchLineResult, ending: Ending) -> str:
    answered, refused, expired, unknown = LINE_OUTCOMES
    if not line.was_asked:
        return expired
    of_billing = {Billing.SETTLED: answered, Billing.UNKNOWN: unknown}
    return of_billing.get(ending.billing, refused)


def _portions(lines: Iterable[BatchLineResult]) -> Iterator[list[BatchLineResult]]:
    left = iter(lines)
    while few := list(islice(left, _AT_ONCE)):
        yield few


def refusal_of_form(
    lines: Iterable[BatchLineResult], api: Api, profile: ProviderProfile, now: float
) -> str:
    """Return why the first line was refused for its form, or an empty text.

    What is wrong with one picture is another error, and says nothing of the next line.
    """
    request = ProviderRequest(api, PATHS[api], b"", (), profile=profile)
    for line in lines:
        try:
            line.answer(request, now=now)
        except RequestRejected as error:
            return error.message
        except VisionqError:
            return ""
        return ""
    return ""
