"""Upload and submission, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from visionq.errors import JobError
from visionq.sdk.drafts import UPLOADS, PendingSubmission, SubmissionChunk, all_contents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from visionq.blobs.protocol import AsyncBlobStore
    from visionq.ledger import AsyncLedger, Submission
    from visionq.sdk.drafts import Draft

#: Jobs, each as the keywords of `submit`.
Rows: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


async def each(jobs: Rows) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the jobs of an iterable of either kind."""
    if isinstance(jobs, AsyncIterable):
        async for fields in jobs:
            yield fields
    else:
        for fields in jobs:
            yield fields


async def portions_of(
    jobs: AsyncIterator[Mapping[str, Any]],
    draft: Callable[[Mapping[str, Any]], Awaitable[Draft]],
) -> AsyncIterator[SubmissionChunk]:
    """Yield what is submitted together; a job that can be none ends a portion."""
    portion = SubmissionChunk()
    async for fields in jobs:
        try:
            portion.add(await draft(fields))
        except JobError as failure:
            portion.failure = failure
        if portion.is_full:
            yield portion
            portion = SubmissionChunk()
    yield portion


async def enter(
    drafts: Sequence[Draft], blobs: AsyncBlobStore, ledger: AsyncLedger
) -> list[Submission]:
    """Upload and submit; what expires in between is uploaded again."""
    entry = PendingSubmission(drafts)
    for _ in range(UPLOADS):
        if entry.remaining:
            for tenant, contents in all_contents(entry.remaining).items():
                await blobs.put(contents, tenant)
            entry.note(await ledger.submit([one.job for one in entry.remaining]))
    return entry.replies
