"""Results and errors of jobs, as Redis holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from visionq.contract import ErrorDocument, JobView, ResultDocument
from visionq.errors import JobFailed, JobNotFound
from visionq.ledger import celery_results
from visionq.ledger.views import ask_for_view, read_view
from visionq.names import CELERY_RESULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from visionq.sans_io import Steps
    from visionq.sdk.typed import End


class _Success(BaseModel):
    """The part of a Celery result that is read, in one go: collectors read millions."""

    result: ResultDocument


_REPLIES: Final = 3
_NO_RESULT: Final[tuple[str, Any]] = ("", None)


def read_ends(redis: Redis | AsyncRedis, job_ids: Sequence[str]) -> Steps[dict[str, End]]:
    """Return the ends of jobs that have ended or are unknown, in one round trip."""
    pipeline = redis.pipeline(transaction=False)
    for job_id in job_ids:
        ask_for_view(pipeline, job_id)
        # Last: a job seen as ended then has its result, which is written with it.
        pipeline.get(CELERY_RESULT + job_id)
    replies = yield pipeline.execute()
    return parse_ends(job_ids, replies)


def parse_ends(job_ids: Sequence[str], replies: Sequence[Any]) -> dict[str, End]:
    """Return the ends in the replies that `read_ends` receives."""
    ends: dict[str, End] = {}
    for position, job_id in enumerate(job_ids):
        fields, due, stored = replies[position * _REPLIES : (position + 1) * _REPLIES]
        end = _end(job_id, read_view(job_id, fields, due), stored)
        if end is not None:
            ends[job_id] = end
    return ends


def answer_in(stored: bytes | None) -> ResultDocument | None:
    """Return the answer in a stored or published Celery result."""
    if stored is None or not celery_results.is_success(stored):
        return None
    # A newer worker may write more fields than this client knows.
    return _Success.model_validate_json(stored, extra="ignore").result


def _end(job_id: str, view: JobView | None, stored: bytes | None) -> End | None:
    answer = answer_in(stored)
    if answer is not None:
        return answer
    if view is not None and view.error is not None:
        return _failed(view.error)
    status, result = celery_results.read(stored) if stored else _NO_RESULT
    if status in {"FAILURE", "REVOKED"}:
        return _failed_before_entry(result)
    if view is None:
        return not_found(job_id)
    if view.state.is_terminal:
        return JobNotFound(f"the result of job {job_id} was removed; the job itself has ended")
    return None


def _failed(error: ErrorDocument) -> JobFailed:
    return JobFailed(**dict(error))


def _failed_before_entry(exception: dict[str, Any]) -> JobFailed:
    """Return the error of a plain Celery message that never entered the ledger."""
    text = " ".join(str(part) for part in exception["exc_message"])
    code, _, message = text.partition(": ")
    return JobFailed(code, message)


def not_found(job_id: str) -> JobNotFound:
    """Return the error for an unknown job."""
    return JobNotFound(
        f"no job {job_id}: check the id; finished jobs are forgotten after VISIONQ_RESULT_TTL"
    )
