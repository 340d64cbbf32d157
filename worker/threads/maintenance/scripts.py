"""Scripts for producers, whose Redis user may call them and not load any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from visionq.ledger.scripts import load_missing

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Scripts:
    """Keeps the scripts of this release loaded: Redis forgets them when it restarts."""

    redis: Redis

    def run(self) -> None:
        """Load those that are missing."""
        if loaded := load_missing(self.redis):
            log.info("scripts.loaded", scripts=loaded)
