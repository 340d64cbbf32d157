"""The output and error files of a batch whose jobs have ended."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from heapq import merge
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

from producer.gateway.batches.batch_input import draft_of, read_lines
from producer.gateway.http_errors import ApiError, error_body
from producer.gateway.job_service import read_latest
from producer.gateway.openai.completion_objects import completion_of, job_error
from producer.gateway.openai.response_objects import response_of
from visionq.contract import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer.gateway.batches.batch_input import BatchLine
    from producer.gateway.batches.batch_store import Batch
    from producer.gateway.dependencies import Services
    from producer.gateway.job_service import JobRecord

#: Number of a line, whether it is an error, and the row itself.
Row: TypeAlias = tuple[int, bool, bytes]

#: Most lines, and most of their bytes, in memory at a time.
_MOST_LINES: Final = 200
_MOST_BYTES: Final = 4_000_000
_PURPOSE: Final = "batch_output"
_OK: Final = 200
#: Failures that OpenAI returns as answers: the model has answered, and was paid.
_ANSWERED: Final = frozenset({"refused", "incomplete"})


async def write_results(services: Services, batch: Batch, path: Path) -> dict[str, str]:
    """Write both files; return field of the batch → id, without empty files."""
    few = _few(path)
    files = services.files
    with (
        _before(services, batch) as before,
        files.writing(batch.tenant, _PURPOSE, f"{batch.id}_output.jsonl") as (output, ok),
        files.writing(batch.tenant, _PURPOSE, f"{batch.id}_error.jsonl") as (errors, wrong),
    ):
        results = Results(batch, output, errors, before)
        while lines := await services.in_batch_thread(next, few, None):
            jobs = [batch.job_id(line.number) for line in lines]
            records = await read_latest(services, jobs)
            pairs = list(zip(lines, records, strict=True))
            await services.in_batch_thread(results.write, pairs, services)
        ids = {"output_file_id": (output, ok), "error_file_id": (errors, wrong)}
        return {name: record.id for name, (file, record) in ids.items() if file.tell()}


def _few(path: Path) -> Iterator[list[BatchLine]]:
    """Yield the lines of a file in chunks."""
    lines: list[BatchLine] = []
    for line in read_lines(path):
        lines.append(line)
        if len(lines) >= _MOST_LINES or sum(one.size for one in lines) >= _MOST_BYTES:
            yield lines
            lines = []
    if lines:
        yield lines


@contextmanager
def _before(services: Services, batch: Batch) -> Iterator[EarlierRows]:
    """Give the rows of the files from an earlier end of the batch."""
    with ExitStack() as stack:
        rows = [
            _rows(stack.enter_context(path.open("rb")), is_error=is_error)
            for file_id, is_error in ((batch.output_file_id, False), (batch.error_file_id, True))
            if file_id and (path := services.files.path(batch.tenant, file_id)).exists()
        ]
        yield EarlierRows(merge(*rows))


def _rows(file: IO[bytes], *, is_error: bool) -> Iterator[Row]:
    for raw in file:
        job_id: str = json.loads(raw)["response"]["request_id"]
        yield int(job_id.rpartition("-")[2]), is_error, raw


class EarlierRows:
    """Rows of the earlier files, in the order of the lines, read one at a time."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def row(self, number: int) -> tuple[bool, bytes] | None:
        """Return whether a line was an error, and its row; call in order."""
        while self._next and self._next[0] < number:
            self._next = next(self._rows, None)
        if self._next and self._next[0] == number:
            return self._next[1:]
        return None


@dataclass(frozen=True)
class Results:
    """Both files of a batch while they are written."""

    batch: Batch
    output: IO[bytes]
    errors: IO[bytes]
    #: For lines whose jobs have expired.
    earlier: EarlierRows

    def write(
        self, pairs: Sequence[tuple[BatchLine, JobRecord | None]], services: Services
    ) -> None:
        """Write the rows of some lines."""
        for line, job in pairs:
            if job is None and (known := self.earlier.row(line.number)):
                is_error, raw = known
                (self.errors if is_error else self.output).write(raw)
                continue
            try:
                body = _body(self.batch, job) if job else _nothing(line, self.batch, services)
            except ApiError as fault:
                _write_row(self.errors, self.batch, line, error_body(fault), fault)
            else:
                _write_row(self.output, self.batch, line, body, None)


def _write_row(
    file: IO[bytes], batch: Batch, line: BatchLine, body: dict[str, Any], fault: ApiError | None
) -> None:
    row = {
        "id": f"batch_req_{batch.job_id(line.number).removeprefix('batch_')}",
        "custom_id": line.custom_id,
        "response": {
            "status_code": fault.status if fault else _OK,
            "request_id": batch.job_id(line.number),
            "body": body,
        },
        "error": {"code": fault.code, "message": fault.message} if fault else None,
    }
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate in a custom_id can't be written; it stays escaped.
    file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _body(batch: Batch, job: JobRecord) -> dict[str, Any]:
    """Return the answer of a job; raise `ApiError` if there is none."""
    view = job.view
    if view.error is not None and view.error.code not in _ANSWERED:
        if view.state is State.CANCELLED and batch.status != "finalizing":
            raise _stopped(batch)
        raise job_error(view.error)
    if batch.endpoint == "/v1/responses":
        return response_of(job).model_dump(mode="json")
    return completion_of(job).model_dump(mode="json")


def _nothing(line: BatchLine, batch: Batch, services: Services) -> dict[str, Any]:
    """Raise the reason why a line has no job."""
    if line.number <= batch.entered:
        draft_of(line, batch, services)  # refused as before
        raise ApiError(410, "job_not_found", "the job has ended, and its result has expired")
    raise _stopped(batch)


def _stopped(batch: Batch) -> ApiError:
    if batch.cancelling_at is not None or batch.ended_before == "cancelled":
        return ApiError(409, "cancelled", "the batch was cancelled before this was answered")
    return ApiError(408, "batch_expired", "the batch's time was up before this was answered")
