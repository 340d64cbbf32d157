"""The output file and the error file of a batch whose jobs have ended."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from heapq import merge
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

from producer.gateway.batches.batch_input import draft_of, read_lines
from producer.gateway.http_errors import Fault, error_body
from producer.gateway.job_service import look_at_latest
from producer.gateway.openai.completion_objects import completion_of, fault_in
from producer.gateway.openai.response_objects import response_of
from visionq.contract import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer.gateway.batches.batch_input import Line
    from producer.gateway.batches.batch_store import Batch
    from producer.gateway.dependencies import Services
    from producer.gateway.job_service import Standing

#: Number of a line, whether it is told as an error, and the row itself.
Row: TypeAlias = tuple[int, bool, bytes]

#: What is in memory at a time: at most so many lines, of about so many bytes.
_MOST_LINES: Final = 200
_MOST_BYTES: Final = 4_000_000
_PURPOSE: Final = "batch_output"
_OK: Final = 200
#: Failures for which OpenAI has a form of answer: the model has spoken, and was paid.
_SPOKEN: Final = frozenset({"refused", "incomplete"})


async def write_results(services: Services, batch: Batch, path: Path) -> dict[str, str]:
    """Write both files; returns the ids of those that are not empty, by field of the batch."""
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
            standings = await look_at_latest(services, jobs)
            pairs = list(zip(lines, standings, strict=True))
            await services.in_batch_thread(results.write, pairs, services)
        ids = {"output_file_id": (output, ok), "error_file_id": (errors, wrong)}
        return {name: record.id for name, (file, record) in ids.items() if file.tell()}


def _few(path: Path) -> Iterator[list[Line]]:
    """Yield the lines of a file, some at a time."""
    lines: list[Line] = []
    for line in read_lines(path):
        lines.append(line)
        if len(lines) >= _MOST_LINES or sum(one.size for one in lines) >= _MOST_BYTES:
            yield lines
            lines = []
    if lines:
        yield lines


@contextmanager
def _before(services: Services, batch: Batch) -> Iterator[Earlier]:
    """Give what the batch's files said when it had ended before."""
    with ExitStack() as stack:
        rows = [
            _rows(stack.enter_context(path.open("rb")), is_error=is_error)
            for file_id, is_error in ((batch.output_file_id, False), (batch.error_file_id, True))
            if file_id and (path := services.files.path(batch.tenant, file_id)).exists()
        ]
        yield Earlier(merge(*rows))


def _rows(file: IO[bytes], *, is_error: bool) -> Iterator[Row]:
    for raw in file:
        job_id: str = json.loads(raw)["response"]["request_id"]
        yield int(job_id.rpartition("-")[2]), is_error, raw


class Earlier:
    """Rows of the earlier files, which stand in the order of the lines; one at a time is read."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def row(self, number: int) -> tuple[bool, bytes] | None:
        """Return whether a line was told as an error, and how; ask in the order of the lines."""
        while self._next and self._next[0] < number:
            self._next = next(self._rows, None)
        if self._next and self._next[0] == number:
            return self._next[1:]
        return None


@dataclass(frozen=True)
class Results:
    """Both files of a batch, as they are written."""

    batch: Batch
    output: IO[bytes]
    errors: IO[bytes]
    #: For lines whose jobs are not kept any more.
    earlier: Earlier

    def write(self, pairs: Sequence[tuple[Line, Standing | None]], services: Services) -> None:
        """Tell what has become of some lines."""
        for line, standing in pairs:
            if standing is None and (known := self.earlier.row(line.number)):
                is_error, raw = known
                (self.errors if is_error else self.output).write(raw)
                continue
            try:
                body = (
                    _body(self.batch, standing)
                    if standing
                    else _nothing(line, self.batch, services)
                )
            except Fault as fault:
                _tell(self.errors, self.batch, line, error_body(fault), fault)
            else:
                _tell(self.output, self.batch, line, body, None)


def _tell(
    file: IO[bytes], batch: Batch, line: Line, body: dict[str, Any], fault: Fault | None
) -> None:
    told = {
        "id": f"batch_req_{batch.job_id(line.number).removeprefix('batch_')}",
        "custom_id": line.custom_id,
        "response": {
            "status_code": fault.status if fault else _OK,
            "request_id": batch.job_id(line.number),
            "body": body,
        },
        "error": {"code": fault.code, "message": fault.message} if fault else None,
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair in a custom_id can't be written; it comes back as it was escaped.
    file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _body(batch: Batch, standing: Standing) -> dict[str, Any]:
    """Return the answer of a job; raises `Fault` where there is none."""
    view = standing.view
    if view.error is not None and view.error.code not in _SPOKEN:
        if view.state is State.CANCELLED and batch.status != "finalizing":
            raise _stopped(batch)
        raise fault_in(view.error)
    if batch.endpoint == "/v1/responses":
        return response_of(standing).model_dump(mode="json")
    return completion_of(standing).model_dump(mode="json")


def _nothing(line: Line, batch: Batch, services: Services) -> dict[str, Any]:
    """Raise why a line has no job."""
    if line.number <= batch.entered:
        draft_of(line, batch, services.settings, services.models)  # refused as before
        raise Fault(410, "job_not_found", "the job has ended, and its result has expired")
    raise _stopped(batch)


def _stopped(batch: Batch) -> Fault:
    if batch.cancelling_at is not None or batch.ended_before == "cancelled":
        return Fault(409, "cancelled", "the batch was cancelled before this was answered")
    return Fault(408, "batch_expired", "the batch's time was up before this was answered")
