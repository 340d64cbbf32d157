"""A result as Celery's own Redis backend writes it, so that any `AsyncResult(id).get()` reads it.

The ledger's scripts write it in the step that ends the job. Celery is not imported for it, since
producers end jobs too and importing Celery takes them seconds; a test holds every form here against
what the installed Celery's backend reads and writes.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from visionq.contract.result import ErrorDocument

_SUCCESS: Final = re.compile(rb'\{"status": ?"SUCCESS"')
_ERRORS_MODULE: Final = "visionq.errors"


#: One encoder for all: `json.dumps` makes one for each call.
_as_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _meta(job_id: str, status: str, result: str, now: float | None) -> str:
    """Wrap a result that is already JSON."""
    done = None if now is None else datetime.fromtimestamp(now, UTC).isoformat()
    rest: dict[str, Any] = {"traceback": None, "children": [], "date_done": done, "task_id": job_id}
    return f'{{"status":"{status}","result":{result},{_as_json(rest)[1:]}'


def _exception(module: str, name: str, message: str) -> str:
    return _as_json({"exc_type": name, "exc_message": [message], "exc_module": module})


def success(job_id: str, result: str, now: float) -> str:
    """Return the result of a completed job: `get()` returns its result document."""
    return _meta(job_id, "SUCCESS", result, now)


def failure(job_id: str, error: ErrorDocument, error_type: str, now: float) -> str:
    """Return the result of a failed job: `get()` raises, with the code in the message."""
    where = f"{error.image}: " if error.image else ""
    message = f"{error.code}: {where}{error.message}"
    return _meta(job_id, "FAILURE", _exception(_ERRORS_MODULE, error_type, message), now)


def revoked(job_id: str, message: str, now: float) -> str:
    """Return the result of a cancelled job: `get()` raises Celery's `TaskRevokedError`."""
    return _meta(
        job_id, "REVOKED", _exception("celery.exceptions", "TaskRevokedError", message), now
    )


def retry(job_id: str, reason: str) -> str:
    """Return the result of a waiting or parked job: `get()` keeps waiting."""
    return _meta(job_id, "RETRY", _exception("celery.exceptions", "Retry", reason), None)


def is_final(meta: bytes) -> bool:
    """Return whether a stored result is final, without parsing all of it."""
    return not meta.startswith(b'{"status":"RETRY"')


def is_success(meta: bytes) -> bool:
    """Return whether a stored result is an answer, without parsing all of it."""
    return _SUCCESS.match(meta) is not None


def read(meta: bytes | str) -> tuple[str, Any]:
    """Return status and result from a stored result."""
    fields = json.loads(meta)
    return fields["status"], fields["result"]
