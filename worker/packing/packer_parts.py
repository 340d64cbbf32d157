"""The dependencies and waiting times of a packer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from visionq.ledger.provider_batches import VERDICT
from visionq.pricing.batch_lane import FIRST_GUESS, STOPPING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from visionq.ledger import Ledger, Registration
    from visionq.pricing.batch_lane import BatchTable
    from worker.packing.leadership import Leadership
    from worker.pipeline import Dependencies
    from worker.provider.batches import BatchApi
    from worker.threads.heartbeat import Leases


@dataclass(frozen=True)
class Patience:
    """Waiting times of the packer, in seconds."""

    #: For more jobs, from the first one on, while more keep coming.
    gathering: float = 300
    #: Until a batch that may have been made, and is not listed, is made again.
    listing: float = 300
    #: Until more is tried of a model whose batches were refused.
    resting: float = 300
    #: For moving a file.
    transfer: float = 1860
    #: Until a batch that the provider does not know any more, or whose files it lost, is given up.
    forgotten: float = 26 * 3600
    #: For a batch, as long as none has shown how long it takes: most are done within the hour.
    batch: float = FIRST_GUESS
    #: For stopping a batch, until its lines are back.
    stopping: float = STOPPING
    #: Until one more line is tried of a model that took no batches.
    verdict: float = VERDICT
    #: Between two looks for batches that nobody knows.
    strays: float = 600
    #: By which the pauses between two looks at a batch are multiplied.
    looks: float = 1
    #: Between two looks at what is under way, while a long file is filled or settled.
    tending: float = 30


@dataclass(frozen=True)
class PackerParts:
    """The dependencies of a packer."""

    ledger: Ledger
    dependencies: Dependencies
    #: Runs a task of the process's event loop to its end.
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    leases: Leases
    registration: Registration
    api: BatchApi
    table: BatchTable
    leadership: Leadership
    clock: Callable[[], float]
    patience: Patience = field(default_factory=Patience)
    #: Where the files of batches are while they are written.
    folder: Path | None = None
