"""The input file of a batch: its lines, and the jobs that they become."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from redis.exceptions import RedisError

from producer.gateway.http_errors import ApiError, api_error_of, invalid
from producer.openai_requests.request_reader import in_their_words, read_request
from visionq.contract import Lane, Priority
from visionq.errors import InvalidJob, QueueUnavailable, TooLarge, VisionqError
from visionq.ledger import Conflict, Submitted
from visionq.sans_io import run_async
from visionq.sdk.submitting import draft, submit_drafts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from producer.gateway.batches.batch_store import Batch
    from producer.gateway.dependencies import Services
    from visionq.sdk.submitting import Draft

#: Longest line, in bytes: a few copies of it are in memory while it is parsed.
LONGEST: Final = 30_000_000
#: Seconds after the end of a batch when the ledger ends its jobs, if no gateway has.
_GRACE: Final = 60
_BLANKS: Final = b" \t\r\n"
#: The field of a request; within a text its quotes are escaped.
_MODEL: Final = re.compile(rb'(?<!\\)"model"\s*:\s*"([A-Za-z0-9._:/-]{1,128})"')
#: Of a file, of which the ends are looked up.
_MOST_MODELS: Final = 100


class Envelope(BaseModel):
    """The fields of every line."""

    model_config = ConfigDict(extra="forbid")

    custom_id: str
    method: str
    url: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A line that is not blank, numbered from 1."""

    number: int
    #: Its content; None if it is not a JSON object.
    record: dict[str, Any] | None
    #: Its id, even if the rest of the line is wrong.
    custom_id: str | None
    #: Why it is not a request, as far as place and form show.
    fault: ApiError | None
    #: Approximate bytes in memory.
    size: int = 0


def read_lines(path: Path) -> Iterator[BatchLine]:
    """Yield the lines of a file, with one in memory at a time."""
    seen: set[str] = set()
    for number, raw in enumerate(_raw_lines(path), 1):
        line = _parsed(number, raw)
        if line.custom_id is not None and line.custom_id in seen:
            fault = _fault(f"custom_id: {line.custom_id} names an earlier line too", "custom_id")
            line = replace(line, fault=fault)
        elif line.custom_id is not None:
            seen.add(line.custom_id)
        yield line


def survey(path: Path, most: int) -> tuple[int, frozenset[str | None]]:
    """Return the number of lines, and their models, with None for a line without one.

    Count up to one line beyond `most`, without parsing.
    """
    lines, models = 0, set[str | None]()
    for raw in islice(_raw_lines(path), most + 1):
        lines += 1
        found = _MODEL.search(raw or b"")
        if len(models) < _MOST_MODELS:
            models.add(found.group(1).decode() if found else None)
    return lines, frozenset(models)


def _raw_lines(path: Path) -> Iterator[bytes | None]:
    """Yield lines that are not blank, and None for one that is too long."""
    with path.open("rb") as file:
        while raw := file.readline(LONGEST + 1):
            rest = raw
            while len(rest) > LONGEST and not rest.endswith(b"\n"):
                rest = file.readline(LONGEST + 1)
            if raw.strip(_BLANKS):
                yield raw if len(raw) <= LONGEST else None


def _parsed(number: int, raw: bytes | None) -> BatchLine:
    if raw is None:
        fault = ApiError(400, TooLarge.code, f"the line has more than {LONGEST:,} bytes")
        return BatchLine(number, None, None, fault)
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        return BatchLine(number, None, None, _fault("the line is not JSON"))
    if not isinstance(record, dict):
        return BatchLine(number, None, None, _fault("the line is not a JSON object"))
    custom_id = record.get("custom_id")
    return BatchLine(
        number, record, custom_id if isinstance(custom_id, str) else None, None, len(raw)
    )


def _fault(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, InvalidJob.code, message, param=param)


def draft_of(line: BatchLine, batch: Batch, services: Services) -> Draft:
    """Return the job of a line with its pictures.

    Raises:
        ApiError: the line is not a request that the batch can take.
    """
    fields = {
        "priority": Priority.BULK,
        "deadline": datetime.fromtimestamp(batch.expires_at + _GRACE, UTC),
        "lane": batch.lane,
        **fields_in(line, batch.endpoint),
        "tenant": batch.tenant,
        "batch_id": batch.id,
    }
    if fields["lane"] == Lane.AUTO:
        fields.setdefault("by", batch.needed_by(time.time()))
    try:
        one = draft(fields, services.settings, batch.job_id(line.number), services.migrations())
    except InvalidJob as error:
        raise api_error_of(in_their_words(error, fields["api"])) from None
    except VisionqError as error:
        raise api_error_of(error) from None
    services.models.check(one.job.document.model or "")
    return one


def fields_in(line: BatchLine, endpoint: str) -> dict[str, Any]:
    """Return the fields of the job of a line.

    Raises:
        ApiError: it is not a request for the endpoint.
    """
    if line.fault is not None:
        raise line.fault
    try:
        envelope = Envelope.model_validate(line.record)
    except ValidationError as error:
        raise invalid(error.errors()) from None
    if (envelope.method, envelope.url) != ("POST", endpoint):
        raise _fault(f"url: every line of this batch must be for POST {endpoint}", "url")
    try:
        return read_request(endpoint, envelope.body)
    except InvalidJob as error:
        raise api_error_of(error) from None


#: Most jobs, and most bytes of pictures, in memory at a time.
_MOST_JOBS: Final = 200
_MOST_BYTES: Final = 4_000_000
#: Seconds between attempts while Redis takes no jobs.
_PAUSES: Final = (1, 2, 5, 10)


@dataclass(slots=True)
class LineChunk:
    """Some lines that follow each other."""

    drafts: list[Draft] = field(default_factory=list)
    refused: int = 0
    last: int = 0
    size: int = 0

    @property
    def is_full(self) -> bool:
        """Whether to submit them now."""
        return len(self.drafts) >= _MOST_JOBS or self.size >= _MOST_BYTES


async def enter_lines(services: Services, batch: Batch, path: Path) -> Batch:
    """Submit the remaining lines; return early when the batch is cancelled or expires."""
    portions = _portions(services, batch, path)
    while portion := await services.in_batch_thread(next, portions, None):
        if not await _enter(services, batch, portion.drafts):
            break
        batch = await services.batches.note(
            batch, entered=portion.last, refused=batch.refused + portion.refused
        )
        if await _is_over(services, batch):
            break
    return batch


def _portions(services: Services, batch: Batch, path: Path) -> Iterator[LineChunk]:
    """Yield chunks of the lines that were not submitted before."""
    portion = LineChunk()
    for line in read_lines(path):
        if line.number <= batch.entered:
            continue
        portion.last = line.number
        try:
            one = draft_of(line, batch, services)
        except ApiError:  # reported in the error file
            portion.refused += 1
        else:
            portion.drafts.append(one)
            portion.size += sum(map(len, one.contents.values()))
        if portion.is_full:
            yield portion
            portion = LineChunk()
    if portion.last:
        yield portion


async def _enter(services: Services, batch: Batch, drafts: list[Draft]) -> bool:
    """Submit jobs, waiting while Redis takes none; return False if the batch ends before."""
    attempt = 0
    while drafts:
        try:
            replies = await run_async(submit_drafts(drafts, services.blobs, services.ledger))
        except (QueueUnavailable, RedisError):
            pass
        else:
            # A conflict: an earlier release or setting made another document of the line.
            entered = {reply.id for reply in replies if isinstance(reply, Submitted | Conflict)}
            drafts = [one for one in drafts if one.job.id not in entered]
        if drafts:
            await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            attempt += 1
            if await _is_over(services, batch):
                return False
    return True


async def _is_over(services: Services, batch: Batch) -> bool:
    if time.time() >= batch.expires_at:
        return True
    try:
        now = await services.batches.get(batch.id)
    except RedisError:  # unknown: go on
        return False
    return now is None or now.status == "cancelling"
