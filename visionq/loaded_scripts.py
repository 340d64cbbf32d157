"""Every script of this release, kept in Redis's memory for those who may not load one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visionq.blobs import scripts as of_blobs
from visionq.ledger import scripts as of_ledger

if TYPE_CHECKING:
    from redis import Redis


def load_missing(redis: Redis) -> int:
    """Load what Redis does not have, as after its restart; returns how many scripts that were."""
    texts = [of_ledger.script_text(name) for name in of_ledger.SCRIPTS]
    texts += [of_blobs.script_text(name) for name in of_blobs.SCRIPTS]
    there: Any = redis.script_exists(*(redis.register_script(text).sha for text in texts))
    missing = [text for text, is_there in zip(texts, there, strict=True) if not is_there]
    for text in missing:
        redis.script_load(text)
    return len(missing)
