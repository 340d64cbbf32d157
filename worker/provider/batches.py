"""Client of the provider's Batch API: files, batches and their results.

Each call is made once; what to do after an error is the caller's decision. `upload` and `create`
raise `BillingUnknown` if the request may have arrived although no answer came: the batch is then
searched by its mark before anything is sent again. All other calls may be repeated at will; they
raise `ProviderUnavailable` where they brought no answer.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx2
import openai
import structlog

from visionq.contract import Api
from visionq.errors import (
    BatchApiMissing,
    BillingUnknown,
    ModelNotFound,
    ProviderUnavailable,
    RequestRejected,
    VisionqError,
)
from visionq.providers import load_profile
from worker.http_limits import pieces
from worker.provider.batch_files import read_line, split_lines
from worker.provider.provider_client import connection_error, make_client
from worker.provider.refusal_rules import fault
from worker.provider.reply import Reply, Where, public, read_reason
from worker.provider.request import PATHS, ProviderRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from visionq.providers import ProviderProfile
    from visionq.settings import Settings
    from worker.provider.batch_files import BatchLineResult
    from worker.provider.reply import ErrorFields

log = structlog.get_logger()

#: Field of a batch's metadata that holds its mark.
MARK_FIELD: Final = "visionq_mark"
#: Batches and files of a page; the provider takes 1 to 100 batches (openai 3.54).
_PAGE: Final = 100
#: Pages that are read of a list, however long it is.
_MOST_PAGES: Final = 200
#: Cuts of a download, one after the other without a byte, after which it is given up.
_MOST_CUTS: Final = 5
#: Bytes of a result file, more than 50,000 of the longest answers have.
_LONGEST_FILE: Final = 4 * 1024**3
_LONGEST_TEXT: Final = 512
_ID: Final = re.compile(r"[\w.-]{1,200}", re.ASCII)
#: Statuses that a path which does not exist gets.
_NO_PATH: Final = frozenset({404, 405, 501})
#: Seconds since the epoch and counts of lines beyond which a number means nothing.
_MOST_SECONDS: Final = 10**11
_MOST_LINES: Final = 10**7


class BatchStatus(StrEnum):
    """The status of a batch (openai 3.54)."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Return whether the batch has ended."""
        return self in _FINAL


_FINAL: Final = frozenset(
    {BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """Why a batch failed validation: as a whole, or one of its lines. `text` is public."""

    code: str | None
    text: str
    #: From 1.
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderBatch:
    """A batch as the provider shows it. Times are seconds since the epoch."""

    id: str
    status: BatchStatus
    #: By which we know it as ours; None: it is someone else's.
    mark: str | None
    input_file_id: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    created_at: float = 0.0
    expires_at: float | None = None
    #: When it came to its final status.
    ended_at: float | None = None
    problems: tuple[BatchProblem, ...] = ()

    @property
    def result_file_ids(self) -> tuple[str, ...]:
        """Return the files with the results of the lines."""
        return tuple(filter(None, (self.output_file_id, self.error_file_id)))

    @property
    def is_over_token_limit(self) -> bool:
        """Return whether it failed only because too many tokens are enqueued: nothing was asked."""
        return self.status is BatchStatus.FAILED and any(
            problem.code == "token_limit_exceeded" for problem in self.problems
        )

    @property
    def token_limit(self) -> int | None:
        """Return the limit that it surpassed, in tokens, if the provider names it."""
        texts = (problem.text for problem in self.problems if self.is_over_token_limit)
        found = next(filter(None, map(_TOKEN_LIMIT.search, texts)), None)
        return int(found[1].replace(",", "")) or None if found else None


#: OpenAI's words for it (GitHub: openai-python 2084, 2025).
_TOKEN_LIMIT: Final = re.compile(r"Limit: ([\d,]{1,20}) enqueued tokens")


class BatchApi(Protocol):
    """The operations of the provider that the packer needs."""

    def upload(self, path: Path, mark: str) -> str:
        """Upload a file of lines, named after the mark, and return its id.

        Raises:
            BatchApiMissing: the provider has no such path.
            BillingUnknown: it may have arrived. A file alone costs nothing: look for it by
                `files`, or upload again.
            VisionqError: what the table of faults says; nothing arrived.
        """

    def create(self, file_id: str, api: Api, mark: str) -> ProviderBatch:
        """Create a batch from an uploaded file.

        Raises:
            BatchApiMissing: the provider has no such path.
            BillingUnknown: the batch may have been made: `find` it before anything is sent again.
            RateLimited: too much is enqueued already; nothing was made.
            VisionqError: what the table of faults says; nothing was made.
        """

    def find(self, mark: str, *, since: float) -> ProviderBatch | None:
        """Return the newest batch with a mark, of those created at `since` or later."""

    def recent(self, *, since: float) -> Iterator[ProviderBatch]:
        """Yield the batches created since `since`, ours and others', newest first."""

    def get(self, batch_id: str) -> ProviderBatch:
        """Return the current state of a batch; raise `RequestRejected` if unknown."""

    def cancel(self, batch_id: str) -> ProviderBatch:
        """Cancel a batch; return an ended one unchanged."""

    def lines(self, file_id: str) -> Iterator[BatchLineResult]:
        """Yield the lines of a result file as they come, in no order, perhaps twice.

        A cut connection is taken up where it broke. `ProviderUnavailable`: it breaks again and
        again; the lines so far were right. Lines that can't be read are logged and left out.
        """

    def files(self, mark: str) -> tuple[str, ...]:
        """Return the ids of all files that were uploaded under a mark."""

    def delete(self, file_id: str) -> None:
        """Delete a file; one that is gone already is no error.

        Raises:
            VisionqError: it is still there.
        """


class HttpBatchApi:
    """The Batch API over HTTP. For one thread at a time."""

    def __init__(
        self,
        client: openai.OpenAI,
        transfers: openai.OpenAI,
        profile: ProviderProfile,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask by `client`, and move whole files by `transfers`, which has longer timeouts."""
        self._client = client
        self._transfers = transfers
        self._clock = clock
        #: By which the table of faults reads a refusal: about no picture and no model.
        self._as_request = ProviderRequest(Api.RESPONSES, "/batches", b"", (), profile=profile)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._transfers.close()

    def upload(self, path: Path, mark: str) -> str:
        """See `BatchApi`."""
        with path.open("rb") as file:
            document = self._unrepeatable(
                self._transfers,
                "/files",
                body={"purpose": "batch"},
                # An open file is sent in pieces; a path or bytes would be held in memory whole.
                files=[("file", (f"{mark}.jsonl", file, "application/jsonl"))],
                options={"headers": {"Content-Type": "multipart/form-data"}},
            )
        if (file_id := _id(document.get("id"))) is None:
            raise BillingUnknown("the provider accepted a file without returning its id")
        return file_id

    def create(self, file_id: str, api: Api, mark: str) -> ProviderBatch:
        """See `BatchApi`."""
        document = self._unrepeatable(
            self._client,
            "/batches",
            body={
                "input_file_id": file_id,
                "endpoint": f"/v1{PATHS[api]}",
                "completion_window": "24h",
                "metadata": {MARK_FIELD: mark},
            },
        )
        if (batch := read_batch(document)) is None:
            raise BillingUnknown("the provider created a batch, but its response is unreadable")
        return batch

    def find(self, mark: str, *, since: float) -> ProviderBatch | None:
        """See `BatchApi`."""
        return next((batch for batch in self.recent(since=since) if batch.mark == mark), None)

    def recent(self, *, since: float) -> Iterator[ProviderBatch]:
        """See `BatchApi`."""
        for row in self._listed("/batches", {}):
            batch = read_batch(row)
            if batch is not None and batch.created_at < since:
                return
            if batch is not None:
                yield batch

    def get(self, batch_id: str) -> ProviderBatch:
        """See `BatchApi`."""
        return self._known(self._repeatable("get", f"/batches/{_checked(batch_id)}"))

    def cancel(self, batch_id: str) -> ProviderBatch:
        """See `BatchApi`."""
        try:
            return self._known(self._repeatable("post", f"/batches/{_checked(batch_id)}/cancel"))
        except (RequestRejected, ProviderUnavailable):
            # One that has ended can't be cancelled: 400 or 409, which nobody documents.
            batch = self.get(batch_id)
            if not batch.status.is_final:
                raise
            return batch

    def lines(self, file_id: str) -> Iterator[BatchLineResult]:
        """See `BatchApi`."""
        for number, text in enumerate(split_lines(self._content(file_id)), 1):
            line = read_line(text)
            if line is None:
                log.warning("batch.line_unreadable", file=file_id, line=number, bytes=len(text))
            else:
                yield line

    def files(self, mark: str) -> tuple[str, ...]:
        """See `BatchApi`."""
        name = f"{mark}.jsonl"
        rows = self._listed("/files", {"purpose": "batch"})
        ids = (_id(row.get("id")) for row in rows if row.get("filename") == name)
        return tuple(filter(None, ids))

    def delete(self, file_id: str) -> None:
        """See `BatchApi`."""
        try:
            self._repeatable("delete", f"/files/{_checked(file_id)}")
        except RequestRejected:
            if self._is_there(file_id):
                raise
            log.info("batch.file_gone", file=file_id)

    def _is_there(self, file_id: str) -> bool:
        try:
            self._repeatable("get", f"/files/{_checked(file_id)}")
        except RequestRejected:
            return False
        return True

    def _content(self, file_id: str) -> Iterator[bytes]:
        """Yield the bytes of a file, from where they broke off if they do."""
        done = cuts = 0
        while True:
            begun = done
            try:
                for piece in self._from(_checked(file_id), done):
                    done += len(piece)
                    yield piece
            except httpx2.HTTPError as error:
                cuts = cuts + 1 if done == begun else 0
                if cuts >= _MOST_CUTS:
                    raise ProviderUnavailable(
                        f"the download of a result file breaks off ({type(error).__name__})"
                    ) from error
                log.info("batch.download_cut", file=file_id, bytes=done)
            else:
                return

    def _from(self, file_id: str, start: int) -> Iterator[bytes]:
        """Yield the bytes of a file from `start` on, even if the server ignores `Range`."""
        headers = {"Accept-Encoding": "identity"}
        if start:
            # With the last byte once more: a range that begins at the end is refused (416).
            headers["Range"] = f"bytes={start - 1}-"
        with self._opened(file_id, headers) as response:
            is_rest = response.status_code == httpx2.codes.PARTIAL_CONTENT
            skipped = min(start, 1) if is_rest else start
            for piece in pieces(response, _LONGEST_FILE):
                dropped = min(skipped, len(piece))
                skipped -= dropped
                if dropped < len(piece):
                    yield piece[dropped:]

    @contextmanager
    def _opened(self, file_id: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """Open the response, its body to be read; raises `httpx2.HTTPError` if there is none."""
        content = self._transfers.files.with_streaming_response.content
        try:
            with content(file_id, extra_headers=headers) as response:
                yield response.http_response
        except openai.APIStatusError as error:
            raise self._refusal_of_repeatable(error.response) from error
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.HTTPError):
                raise error.__cause__ from error
            raise ProviderUnavailable(str(error)) from error

    def _listed(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list, newest first."""
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            params = {"limit": str(_PAGE), **query, **after}
            page = self._repeatable("get", path, params)
            rows = [row for row in _list(page.get("data")) if isinstance(row, dict)]
            yield from rows
            last = _id(rows[-1].get("id")) if rows else None
            if page.get("has_more") is not True or last is None:
                return
            after = {"after": last}
        log.warning("batch.list_too_long", path=path, pages=_MOST_PAGES)

    def _unrepeatable(
        self,
        client: openai.OpenAI,
        path: str,
        **request: Any,  # noqa: ANN401  # what `client.post` takes
    ) -> dict[str, Any]:
        """Return the document that a POST brings; `BillingUnknown`: it may have arrived."""
        try:
            response = client.post(path, cast_to=httpx2.Response, **request)
        except openai.APIStatusError as error:
            raise self._refusal(error.response) from error
        except openai.APIConnectionError as error:
            raise connection_error(error.__cause__ or error) from error
        document = _reply(response).json
        if not isinstance(document, dict) or document.get("error") or document.get("detail"):
            raise self._refusal(response)
        return document

    def _repeatable(
        self, method: str, path: str, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the document of a call that may be made again."""
        call: Callable[..., httpx2.Response] = getattr(self._client, method)
        try:
            response = call(path, cast_to=httpx2.Response, options={"params": params or {}})
        except openai.APIStatusError as error:
            response = error.response
        except openai.APIConnectionError as error:
            raise ProviderUnavailable(connection_error(error.__cause__ or error).message) from error
        document = _reply(response).json
        if response.is_success and isinstance(document, dict) and not document.get("error"):
            return document
        raise self._refusal_of_repeatable(response)

    def _refusal_of_repeatable(self, response: httpx2.Response) -> VisionqError:
        refusal = self._refusal(response)
        if isinstance(refusal, BillingUnknown):
            return ProviderUnavailable(refusal.message, request_id=refusal.request_id)
        return refusal

    def _known(self, document: dict[str, Any]) -> ProviderBatch:
        batch = read_batch(document)
        if batch is None:
            raise ProviderUnavailable("the provider's response about a batch is unreadable")
        return batch

    def _refusal(self, response: httpx2.Response) -> VisionqError:
        """Return the error for a response without a result."""
        reply = _reply(response)
        reason = read_reason(reply)
        if reply.status in _NO_PATH and _says_no_path(reason):
            return BatchApiMissing(f"the provider has no Batch API here ({reason.text})")
        error = fault(reply, self._as_request, now=self._clock())
        if isinstance(error, ModelNotFound):  # what is not found is a batch or a file
            return RequestRejected(error.message, request_id=error.request_id)
        return error


def make_batch_api(settings: Settings) -> HttpBatchApi:
    """Return the Batch API of the provider of the settings.

    Raises:
        ConfigurationError: the key is missing.
    """
    longer = settings.model_copy(update={"request_timeout": settings.batch_transfer_timeout})
    profile = load_profile(settings.provider)
    return HttpBatchApi(make_client(settings), make_client(longer), profile)


def read_batch(document: dict[str, Any]) -> ProviderBatch | None:
    """Parse a batch object; None without id or with an unknown status."""
    batch_id, input_id = _id(document.get("id")), _id(document.get("input_file_id"))
    status = document.get("status")
    if batch_id is None or status not in tuple(BatchStatus):
        return None
    counts, metadata = _dict(document.get("request_counts")), _dict(document.get("metadata"))
    mark = metadata.get(MARK_FIELD)
    ends = (_seconds(document.get(f"{end}_at")) for end in sorted(_FINAL))
    return ProviderBatch(
        id=batch_id,
        status=BatchStatus(status),
        mark=mark if isinstance(mark, str) and len(mark) <= _LONGEST_TEXT else None,
        input_file_id=input_id or "",
        output_file_id=_id(document.get("output_file_id")),
        error_file_id=_id(document.get("error_file_id")),
        total=_number(counts.get("total"), _MOST_LINES),
        completed=_number(counts.get("completed"), _MOST_LINES),
        failed=_number(counts.get("failed"), _MOST_LINES),
        created_at=_seconds(document.get("created_at")) or 0.0,
        expires_at=_seconds(document.get("expires_at")),
        ended_at=next(filter(None, ends), None),
        problems=tuple(_problems(_dict(document.get("errors")).get("data"))),
    )


def _problems(rows: object) -> Iterator[BatchProblem]:
    for row in _list(rows)[:_PAGE]:
        if isinstance(row, dict):
            code, line = row.get("code"), _number(row.get("line"), _MOST_LINES)
            text = public(str(row.get("message") or code or "no reason given"))
            yield BatchProblem(str(code)[:_LONGEST_TEXT] if code else None, text, line or None)


def _says_no_path(reason: ErrorFields) -> bool:
    """Return whether the path is missing, not a file or a batch."""
    if reason.where is Where.ERROR:
        return reason.code == "unknown_url" or reason.text.lower().startswith("invalid url")
    return reason.where is Where.NOWHERE or reason.text.lower() == "not found"


def _reply(response: httpx2.Response) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def _checked(name: str) -> str:
    """Return an id that is safe in a path."""
    if _id(name) is None:
        raise ValueError(f"no id of a file or batch: {name[:64]!r}")
    return name


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _number(value: object, most: int) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int) and 0 <= value <= most else 0


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= _MOST_SECONDS else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
