"""A provider's Batch API in memory, with the time, the faults and the bill of a test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from visionq.contract import Api
from visionq.errors import BillingUnknown, ProviderUnavailable, RequestRejected
from worker.provider.batch_files import BatchLineResult, read_line
from worker.provider.batches import BatchProblem, BatchStatus, ProviderBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: What each answered line counts.
INPUT_TOKENS, OUTPUT_TOKENS = 20, 10


@dataclass
class Faults:
    """What goes wrong next; each is used up, or stays where it says how."""

    lose_upload_answer: int = 0
    lose_creation_answer: int = 0
    refuse_creation: Exception | None = None
    #: Batches that a list does not show yet.
    hide_newest: int = 0
    #: Ids of lines that are never answered, and in no file.
    drop: set[str] = field(default_factory=set)
    double: bool = False
    #: Whether no file can be deleted.
    keep_files: bool = False
    fail_validation: bool = False
    #: Whether the next batch is refused because too many tokens are enqueued.
    over_token_limit: bool = False
    #: Lines that are refused with an error of the server's, at no charge.
    fail_lines: int = 0
    #: After how many lines a download breaks off, once.
    cut_download: int | None = None


@dataclass
class _Batch:
    shown: ProviderBatch
    lines: list[dict[str, Any]]
    api: Api
    done: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class MemoryBatchApi:
    """Answers nothing by itself: `answer`, `end` and `expire` are the passing of its time."""

    clock: Callable[[], float]
    faults: Faults = field(default_factory=Faults)
    stored_files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    batches: dict[str, _Batch] = field(default_factory=dict)
    #: custom id → how often it was answered, which is what is billed.
    bill: dict[str, int] = field(default_factory=dict)

    # As the packer sees it.

    def upload(self, path: Path, mark: str) -> str:
        file_id = f"file-{len(self.stored_files) + 1}"
        self.stored_files[file_id] = (f"{mark}.jsonl", path.read_bytes())
        if self.faults.lose_upload_answer:
            self.faults.lose_upload_answer -= 1
            raise BillingUnknown("the answer to the upload was lost")
        return file_id

    def create(self, file_id: str, api: Api, mark: str) -> ProviderBatch:
        if self.faults.refuse_creation is not None:
            error, self.faults.refuse_creation = self.faults.refuse_creation, None
            raise error
        _, content = self.stored_files[file_id]
        lines = [json.loads(line) for line in content.splitlines()]
        batch_id = f"batch_{len(self.batches) + 1}"
        status = BatchStatus.IN_PROGRESS
        problems: tuple[BatchProblem, ...] = ()
        if self.faults.fail_validation:
            self.faults.fail_validation = False
            status, problems = BatchStatus.FAILED, (BatchProblem("invalid", "no such line", 1),)
        if self.faults.over_token_limit:
            self.faults.over_token_limit = False
            too_many = BatchProblem("token_limit_exceeded", "Enqueued token limit reached", None)
            status, problems = BatchStatus.FAILED, (too_many,)
        shown = ProviderBatch(
            batch_id,
            status,
            mark,
            file_id,
            total=len(lines),
            created_at=self.clock(),
            problems=problems,
        )
        self.batches[batch_id] = _Batch(shown, lines, api)
        if self.faults.lose_creation_answer:
            self.faults.lose_creation_answer -= 1
            raise BillingUnknown("the answer to the creation was lost")
        return shown

    def find(self, mark: str, *, since: float) -> ProviderBatch | None:
        return next((one for one in self.recent(since=since) if one.mark == mark), None)

    def recent(self, *, since: float) -> Iterator[ProviderBatch]:
        shown = [one.shown for one in self.batches.values() if one.shown.created_at >= since]
        yield from shown[::-1][self.faults.hide_newest :]

    def get(self, batch_id: str) -> ProviderBatch:
        if batch_id not in self.batches:
            raise RequestRejected("there is no such batch")
        return self.batches[batch_id].shown

    def cancel(self, batch_id: str) -> ProviderBatch:
        batch = self.batches[batch_id]
        if not batch.shown.status.is_final:
            batch.shown = replace(batch.shown, status=BatchStatus.CANCELLING)
        return batch.shown

    def lines(self, file_id: str) -> Iterator[BatchLineResult]:
        if file_id not in self.stored_files:
            raise RequestRejected("there is no such file")
        _, content = self.stored_files[file_id]
        for number, line in enumerate(content.splitlines()):
            if self.faults.cut_download is not None and number >= self.faults.cut_download:
                self.faults.cut_download = None
                raise ProviderUnavailable("the download breaks off")
            read = read_line(line)
            assert read is not None
            yield read

    def files(self, mark: str) -> tuple[str, ...]:
        name = f"{mark}.jsonl"
        return tuple(one for one, (called, _) in self.stored_files.items() if called == name)

    def delete(self, file_id: str) -> None:
        if self.faults.keep_files:
            raise ProviderUnavailable("files can't be deleted now")
        self.stored_files.pop(file_id, None)

    # As time passes there.

    def answer(self, batch_id: str, most: int | None = None) -> None:
        """Answer lines of a batch, at most `most`; nothing is answered twice."""
        batch = self.batches[batch_id]
        if batch.shown.status.is_final:
            return
        left = [one for one in batch.lines if one["custom_id"] not in batch.done]
        for line in left[:most]:
            custom_id = line["custom_id"]
            if self.faults.fail_lines:
                self.faults.fail_lines -= 1
                batch.done[custom_id] = _refusal(custom_id, 500, "server_error")
                continue
            self.bill[custom_id] = self.bill.get(custom_id, 0) + 1
            batch.done[custom_id] = _reply(custom_id, line["body"]["model"], batch.api)

    def refuse_lines(self, batch_id: str) -> None:
        """End a batch whose lines were all refused for their form, at no charge."""
        batch = self.batches[batch_id]
        refused = [_refusal(one["custom_id"], 400, "invalid_value") for one in batch.lines]
        batch.shown = replace(
            batch.shown,
            status=BatchStatus.COMPLETED,
            error_file_id=self._file(refused),
            failed=len(refused),
            ended_at=self.clock(),
        )

    def end(self, batch_id: str, status: BatchStatus = BatchStatus.COMPLETED) -> None:
        """End a batch: lines without an answer count as never asked."""
        batch = self.batches[batch_id]
        if batch.shown.status.is_final:
            return
        if status is BatchStatus.COMPLETED:
            self.answer(batch_id)
        code = "batch_cancelled" if status is BatchStatus.CANCELLED else "batch_expired"
        kept = [one for one in batch.done.values() if one["custom_id"] not in self.faults.drop]
        answers = kept * (2 if self.faults.double else 1)
        rest = [
            {"custom_id": one["custom_id"], "response": None, "error": {"code": code}}
            for one in batch.lines
            if one["custom_id"] not in batch.done
        ]
        batch.shown = replace(
            batch.shown,
            status=status,
            output_file_id=self._file(answers[::-1]),
            error_file_id=self._file(rest),
            completed=len(kept),
            failed=len(rest),
            ended_at=self.clock(),
        )

    def _file(self, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        file_id = f"file-out-{len(self.stored_files) + 1}-{len(self.batches)}"
        content = "\n".join(json.dumps(line) for line in lines).encode()
        self.stored_files[file_id] = ("results", content)
        return file_id


def _refusal(custom_id: str, status: int, code: str) -> dict[str, Any]:
    body = {"error": {"message": f"refused: {code}", "type": code, "code": code}}
    response = {"status_code": status, "request_id": f"req_{custom_id}", "body": body}
    return {"id": f"line_{custom_id}", "custom_id": custom_id, "response": response, "error": None}


def _reply(custom_id: str, model: str, api: Api) -> dict[str, Any]:
    assert api is Api.RESPONSES
    body = {
        "id": f"resp_{custom_id}",
        "status": "completed",
        "model": model,
        "output": [
            {"type": "message", "content": [{"type": "output_text", "text": f"answer {custom_id}"}]}
        ],
        "usage": {
            "input_tokens": INPUT_TOKENS,
            "output_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }
    response = {"status_code": 200, "request_id": f"req_{custom_id}", "body": body}
    return {"id": f"line_{custom_id}", "custom_id": custom_id, "response": response, "error": None}
