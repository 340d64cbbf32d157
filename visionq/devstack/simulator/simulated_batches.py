"""The account's batches: files of calls answered within a window, at half price.

A batch asks its lines one after the other, in an order of its own, spread over the time that it is
set to take by a clock that tests can turn. What it has not asked when its window ends has expired.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from visionq.contract.result import SIMULATED_REQUEST
from visionq.devstack.simulator.account import digest_of
from visionq.devstack.simulator.faults import BatchFault
from visionq.devstack.simulator.model_calls import ModelCall, encoded
from visionq.devstack.simulator.question import CHAT_COMPLETIONS, RESPONSES
from visionq.devstack.simulator.refusals import (
    SimulatedRefusal,
    by_openai,
    insufficient_balance,
    missing,
    wrong_type,
    wrong_value,
)
from visionq.devstack.simulator.simulated_files import page_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from visionq.devstack.simulator.account import Account
    from visionq.devstack.simulator.model_calls import Eyes
    from visionq.devstack.simulator.simulated_files import SimulatedFile, SimulatedFiles

#: Endpoint of a batch → API of its lines.
ENDPOINTS: Final = {"/v1/responses": RESPONSES, "/v1/chat/completions": CHAT_COMPLETIONS}
WINDOW: Final = "24h"
FINAL: Final = frozenset({"failed", "completed", "expired", "cancelled"})
#: Seconds between looks at what is due.
TICK: Final = 0.02
#: Lines of a file, and bytes of it.
MOST_LINES: Final = 50_000
MOST_BYTES: Final = 200_000_000
BATCHES_OF_A_PAGE: Final = 100
USUAL_PAGE: Final = 20
#: Pairs of metadata, and letters of a key and a value.
MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
#: Errors that a failed validation names.
NAMED_ERRORS: Final = 20


@dataclass
class SimulatedBatch:
    """One batch, and the offsets of its lines in the file."""

    id: str
    endpoint: str
    base: str
    input: SimulatedFile
    metadata: Mapping[str, str]
    created_at: float
    window: float
    duration: float
    faults: frozenset[BatchFault]
    output: Path
    rejected: Path
    status: str = "validating"
    times: dict[str, int] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    model: str | None = None
    #: Places of the lines in the file, in the order in which they are asked.
    lines: list[int] = field(default_factory=list)
    tokens: int = 0
    asked: int = 0
    completed: int = 0
    failed: int = 0
    output_id: str | None = None
    error_id: str | None = None

    @property
    def is_final(self) -> bool:
        """Return whether the batch has ended."""
        return self.status in FINAL

    def due(self, now: float) -> int:
        """Return how many lines are answered by now."""
        spent = min(now, self.created_at + self.window) - self.created_at
        share = 1.0 if self.duration <= 0 else spent / self.duration
        return min(len(self.lines), int(len(self.lines) * share + 1e-9))

    def to_public(self) -> dict[str, Any]:
        """Return the batch object (openai 3.54)."""
        names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input.id,
            "completion_window": WINDOW,
            "status": self.status,
            "output_file_id": self.output_id,
            "error_file_id": self.error_id,
            "created_at": int(self.created_at),
            "expires_at": int(self.created_at + self.window),
            **{f"{name}_at": self.times.get(name) for name in (*names, "cancelled")},
            "request_counts": {
                "total": len(self.lines),
                "completed": self.completed,
                "failed": self.failed,
            },
            "metadata": dict(self.metadata) or None,
        }


class SimulatedBatches:
    """All batches of the account, oldest first."""

    def __init__(self, account: Account, files: SimulatedFiles, clock: Callable[[], float]) -> None:
        """Charge `account`; `clock` is seconds since the epoch, which tests may advance."""
        self._account = account
        self._files = files
        self._clock = clock
        self._batches: dict[str, SimulatedBatch] = {}

    def strikes(self, fault: BatchFault) -> bool:
        """Return whether a fault occurs now, on demand or by its probability."""
        account = self._account
        ordered = list(account.settings.batch_faults_next)
        if fault in ordered:
            ordered.remove(fault)
            changes = {"batch_faults_next": tuple(ordered)}
            account.settings = account.settings.model_copy(update=changes)
            return True
        return self._account.batch_random.random() < account.settings.batch_faults.get(fault, 0.0)

    def create(self, base: str, body: object) -> SimulatedBatch:
        """Create a batch, or refuse."""
        if not isinstance(body, dict):
            raise by_openai("The body of the request is not a JSON object.", code=None)
        endpoint = _chosen(body, "endpoint", tuple(ENDPOINTS))
        _chosen(body, "completion_window", (WINDOW,))
        if not isinstance(body.get("input_file_id"), str):
            raise missing("input_file_id")
        file = self._files.get(body["input_file_id"], "input_file_id")
        metadata = _metadata(body.get("metadata"))
        if self._account.settings.balance_rub <= 0:
            raise insufficient_balance()
        faults = frozenset(fault for fault in OF_BATCHES if self.strikes(fault))
        settings = self._account.settings
        window, duration = settings.batch_window_s, self._duration()
        if BatchFault.PARTIAL_EXPIRY in faults:
            duration = window / (1 - min(settings.batch_fault_share, 0.99))
        batch = SimulatedBatch(
            id=f"batch_{uuid.uuid4().hex}",
            endpoint=endpoint,
            base=base,
            input=file,
            metadata=metadata,
            created_at=self._clock(),
            window=window,
            duration=duration,
            faults=faults,
            output=self._files.new_path(),
            rejected=self._files.new_path(),
        )
        self._batches[batch.id] = batch
        return batch

    def _duration(self) -> float:
        settings = self._account.settings
        ordered = settings.batch_durations_next
        if not ordered:
            return settings.batch_duration_s
        changes = {"batch_durations_next": ordered[1:]}
        self._account.settings = settings.model_copy(update=changes)
        return ordered[0]

    def get(self, batch_id: str) -> SimulatedBatch:
        """Return a batch, or refuse."""
        if batch_id not in self._batches:
            message = f"No batch found with id '{batch_id}'."
            raise by_openai(message, status=404, param="id", code=None)
        return self._batches[batch_id]

    def cancel(self, batch_id: str) -> SimulatedBatch:
        """Begin to cancel a batch, or refuse if it has ended."""
        batch = self.get(batch_id)
        if batch.is_final:
            message = f"Cannot cancel a batch with status '{batch.status}'."
            raise by_openai(message, status=409, code=None)
        if batch.status != "cancelling":
            self._enter(batch, "cancelling")
        return batch

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of batches, newest first, without those hidden by the lag."""
        shown = self._clock() - self._account.settings.batch_list_lag_s
        rows = [
            batch.to_public()
            for batch in reversed(self._batches.values())
            if batch.created_at <= shown
        ]
        return page_of(rows, query, BATCHES_OF_A_PAGE, USUAL_PAGE)

    async def work(self, eyes: Eyes) -> None:
        """Process what is due, forever."""
        while True:
            for batch in [each for each in self._batches.values() if not each.is_final]:
                await self._advance(batch, eyes)
            await asyncio.sleep(TICK)

    async def _advance(self, batch: SimulatedBatch, eyes: Eyes) -> None:
        if batch.status == "validating":
            await self._validate(batch, eyes)
        if batch.status == "in_progress":
            await self._ask_due(batch, eyes)
        settings = self._account.settings
        if batch.status == "finalizing" and self._has_been(batch, settings.batch_finalizing_s):
            is_cancelled = BatchFault.CANCELLED_FINALIZING in batch.faults
            self._end(batch, "cancelled" if is_cancelled else "completed", "batch_cancelled")
        if batch.status == "cancelling" and self._has_been(batch, settings.batch_cancelling_s):
            self._end(batch, "cancelled", "batch_cancelled")

    def _has_been(self, batch: SimulatedBatch, seconds: float) -> bool:
        return self._clock() >= batch.times[batch.status] + seconds

    def _enter(self, batch: SimulatedBatch, status: str) -> None:
        batch.status = status
        batch.times[status] = int(self._clock())

    async def _validate(self, batch: SimulatedBatch, eyes: Eyes) -> None:
        if BatchFault.VALIDATION_FAILURE in batch.faults:
            batch.errors = [_error("invalid_json_line", "This line is not parseable as JSON.", 1)]
        else:
            await asyncio.to_thread(_read_lines, batch)
        limit = self._account.settings.batch_enqueued_tokens
        if not batch.errors and limit is not None:
            batch.tokens = await self._tokens(batch, eyes)
            others = (each for each in self._batches.values() if not each.is_final)
            enqueued = sum(each.tokens for each in others if each.model == batch.model)
            if enqueued > limit:
                message = (
                    f"Enqueued token limit reached for {batch.model}. Limit: {limit:,} enqueued"
                    " tokens. Please try again once some in_progress batches have been completed."
                )
                batch.errors = [_error("token_limit_exceeded", message)]
        if batch.status != "validating":  # cancelled meanwhile
            return
        if batch.errors:
            batch.lines, batch.tokens = [], 0
            self._enter(batch, "failed")
        else:
            self._account.batch_random.shuffle(batch.lines)
            self._enter(batch, "in_progress")

    async def _tokens(self, batch: SimulatedBatch, eyes: Eyes) -> int:
        total = 0
        with batch.input.path.open("rb") as file:  # read before by validation
            for place in batch.lines:
                call = self._call(batch, _line_at(file, place))
                try:
                    total += await call.input_tokens(self._account, eyes)
                except SimulatedRefusal:
                    continue  # the line will be refused, and counts nothing
        return total

    async def _ask_due(self, batch: SimulatedBatch, eyes: Eyes) -> None:
        if batch.asked < batch.due(self._clock()):
            await self._ask(batch, eyes)
        if batch.status == "in_progress" and batch.asked == len(batch.lines):
            self._enter(batch, "finalizing")
        elif batch.status == "in_progress" and self._clock() >= batch.created_at + batch.window:
            self._end(batch, "expired", "batch_expired")

    async def _ask(self, batch: SimulatedBatch, eyes: Eyes) -> None:
        with (
            batch.input.path.open("rb") as file,  # from the page cache
            batch.output.open("ab") as output,  # into the page cache
            batch.rejected.open("ab") as rejected,  # likewise
        ):
            while batch.status == "in_progress" and batch.asked < batch.due(self._clock()):
                line = _line_at(file, batch.lines[batch.asked])
                batch.asked += 1
                result = await self._result(batch, line, eyes)
                if result["response"] and result["response"]["status_code"] == 200:  # noqa: PLR2004
                    batch.completed += 1
                    target = output
                else:
                    batch.failed += 1
                    target = rejected
                target.write((encoded(result) + b"\n") * self._copies(batch))

    def _copies(self, batch: SimulatedBatch) -> int:
        """Return how many copies of a line's result the file gets."""
        if self._hits(batch, BatchFault.LINES_MISSING):
            return 0
        return 2 if self._hits(batch, BatchFault.LINES_DOUBLED) else 1

    def _hits(self, batch: SimulatedBatch, fault: BatchFault) -> bool:
        """Return whether a fault of the batch hits its next line."""
        share = self._account.settings.batch_fault_share
        return fault in batch.faults and self._account.batch_random.random() < share

    async def _result(
        self, batch: SimulatedBatch, line: dict[str, Any], eyes: Eyes
    ) -> dict[str, Any]:
        """Answer a line, and return its line of the result file."""
        custom_id = line["custom_id"]
        if self._hits(batch, BatchFault.LINES_FAILED):
            message = "The server had an error while processing your request."
            error = by_openai(message, status=500, code="server_error", kind="server_error")
            return _row(custom_id, _response(500, error.body))
        call = self._call(batch, line)
        self._account.bill.receive(call.digest)
        try:
            answer = await call.answer(self._account, eyes)
        except SimulatedRefusal as refused:
            refusal = self._account.dialect.refusal(refused)
            return _row(custom_id, _response(refusal.status, refusal.body))
        if self._hits(batch, BatchFault.LINES_TIMED_OUT):
            timeout = {"code": "request_timeout", "message": "The request timed out."}
            return _row(custom_id, None, timeout)
        return _row(custom_id, _response(200, json.loads(answer.body)))

    def _call(self, batch: SimulatedBatch, line: dict[str, Any]) -> ModelCall:
        api, body = ENDPOINTS[batch.endpoint], line["body"]
        return ModelCall(api, batch.base, body, digest_of(body), batch_line=line["custom_id"])

    def _end(self, batch: SimulatedBatch, status: str, code: str) -> None:
        """End a batch, with an error for each unanswered line."""
        message = {
            "batch_expired": "This request could not be executed before the completion window"
            " expired.",
            "batch_cancelled": "This batch was cancelled before this request was executed.",
        }[code]
        with batch.input.path.open("rb") as file, batch.rejected.open("ab") as rejected:
            for place in batch.lines[batch.asked :]:
                error = {"code": code, "message": message}
                row = _row(_line_at(file, place)["custom_id"], None, error)
                rejected.write(encoded(row) + b"\n")
        batch.failed += len(batch.lines) - batch.asked
        batch.tokens = 0
        batch.output_id = self._kept(batch.output, f"{batch.id}_output.jsonl")
        batch.error_id = self._kept(batch.rejected, f"{batch.id}_error.jsonl")
        self._enter(batch, status)

    def _kept(self, path: Path, name: str) -> str | None:
        if not path.exists() or not path.stat().st_size:
            return None
        return self._files.add(path, name, "batch_output").id


#: Faults that strike a batch when it is created.
OF_BATCHES: Final = (
    BatchFault.VALIDATION_FAILURE,
    BatchFault.PARTIAL_EXPIRY,
    BatchFault.LINES_MISSING,
    BatchFault.LINES_DOUBLED,
    BatchFault.LINES_FAILED,
    BatchFault.LINES_TIMED_OUT,
    BatchFault.CANCELLED_FINALIZING,
)


def _read_lines(batch: SimulatedBatch) -> None:
    """Check every line of the file, and return their offsets."""
    ids: set[str] = set()
    if batch.input.bytes > MOST_BYTES:
        batch.errors.append(_error("file_too_large", f"At most {MOST_BYTES} bytes are allowed."))
        return
    for number, place, text in _numbered(batch.input.path):
        problem = _problem(text, batch, ids)
        if problem is not None:
            batch.errors.append(_error(*problem, number))
            if len(batch.errors) == NAMED_ERRORS:
                return
        batch.lines.append(place)
    if not batch.lines:
        batch.errors.append(_error("empty_file", "The batch input file is empty."))
    if len(batch.lines) > MOST_LINES:
        batch.errors.append(_error("too_many_tasks", f"At most {MOST_LINES} lines are allowed."))


def _numbered(path: Path) -> Iterator[tuple[int, int, bytes]]:
    with path.open("rb") as file:
        place = 0
        for number, text in enumerate(file, 1):
            if text.strip():
                yield number, place, text
            place += len(text)


def _problem(text: bytes, batch: SimulatedBatch, ids: set[str]) -> tuple[str, str] | None:
    """Return code and message of a line's error; None if it is valid."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict) or not isinstance(line.get("body"), dict):
        return "invalid_json_line", "This line is not parseable as valid JSON."
    custom_id, model = line.get("custom_id"), line["body"].get("model")
    if not isinstance(custom_id, str) or not custom_id:
        return "missing_required_parameter", "Missing required parameter: 'custom_id'."
    if custom_id in ids:
        return "duplicate_custom_id", f"The custom_id '{custom_id}' is not unique."
    ids.add(custom_id)
    if line.get("method") != "POST" or line.get("url") != batch.endpoint:
        return "mismatched_endpoint", f"Every line must be a POST to '{batch.endpoint}'."
    if not isinstance(model, str) or batch.model not in {None, model}:
        return "mismatched_model", "Every line must name the same model."
    batch.model = model
    return None


def _error(code: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": None}


def _line_at(file: BinaryIO, place: int) -> dict[str, Any]:
    file.seek(place)
    line: dict[str, Any] = json.loads(file.readline())
    return line


def _row(
    custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None = None
) -> dict[str, Any]:
    request_id = f"batch_req_{uuid.uuid4().hex}"
    return {"id": request_id, "custom_id": custom_id, "response": response, "error": error}


def _response(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    request_id = f"{SIMULATED_REQUEST}{uuid.uuid4()}"
    return {"status_code": status, "request_id": request_id, "body": body}


def _chosen(body: Mapping[str, Any], name: str, supported: tuple[str, ...]) -> str:
    value = body.get(name)
    if value is None:
        raise missing(name)
    if value not in supported:
        raise wrong_value(name, value, supported)
    return str(value)


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type("metadata", "an object", value)
    is_fine = len(value) <= MOST_PAIRS and all(
        isinstance(text, str) and len(key) <= LONGEST_KEY and len(text) <= LONGEST_VALUE
        for key, text in value.items()
    )
    if not is_fine:
        message = "Invalid 'metadata': at most 16 pairs of 64 and 512 letters."
        raise by_openai(message, param="metadata", code="invalid_value")
    return value
