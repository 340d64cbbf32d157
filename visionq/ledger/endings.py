"""From an error of the tree to the documents that the ledger keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionq.contract import ErrorDocument
from visionq.ledger.records import Failed

if TYPE_CHECKING:
    from visionq.errors import VisionqError


def error_document(error: VisionqError) -> ErrorDocument:
    """Return what is kept, and shown, of an error."""
    return ErrorDocument(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        http_status=error.http_status,
        image=error.image,
        cost_rub=error.cost_rub,
        request_id=error.request_id,
        text=error.text,
        usage=error.usage,
    )


def failed(error: VisionqError, picture: int | None = None) -> Failed:
    """Return the outcome of a job that ends with this error, `picture` (from 1) being at fault."""
    return Failed(error_document(error), type(error).__name__, picture)
