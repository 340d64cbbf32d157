"""Upload and submission, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionq.sdk.drafts import UPLOADS, Entry, all_contents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.blobs.protocol import AsyncBlobStore
    from visionq.ledger import AsyncLedger, Submission
    from visionq.sdk.drafts import Draft


async def enter(
    drafts: Sequence[Draft], blobs: AsyncBlobStore, ledger: AsyncLedger
) -> list[Submission]:
    """Upload and submit; what expires in between is uploaded again."""
    entry = Entry(drafts)
    for _ in range(UPLOADS):
        if entry.remaining:
            await blobs.put(all_contents(entry.remaining))
            entry.note(await ledger.submit([one.job for one in entry.remaining]))
    return entry.replies
