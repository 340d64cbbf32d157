"""Many jobs through the ledger in little time: what a script does in one trip, many do in one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.support.ledger import BOTH, new_job, outcome_of, paid, unpaid
from visionq.blobs import RedisBlobs, Room
from visionq.ledger import Ledger, LedgerOptions, Registration, calls
from visionq.ledger.endings import finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from visionq.ledger import NewJob

#: Jobs of one round: as many as one call of a script may touch.
ROUND = 500
TENANTS = 50
WORKER = Registration("w1", 10 * ROUND, BOTH)


@dataclass
class BulkLedger:
    """Enters jobs of every kind and brings them to every end."""

    redis: Redis
    options: LedgerOptions

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.redis, self.options)
        self.blobs = RedisBlobs(self.redis, Room(self.options.blob_grace))
        self.rounds = 0

    def submit(self) -> list[str]:
        """Enter one round: other tenants, models, batches, keys and pictures than all before."""
        first = self.rounds * ROUND
        self.rounds += 1
        numbers = range(first, first + ROUND)
        shas = self.blobs.put([f"{number:02000}".encode() for number in numbers])
        jobs = [_job(number, sha) for number, sha in zip(numbers, shas, strict=True)]
        for reply in self.ledger.submit(jobs):
            assert getattr(reply, "created", False), reply
        return [job.id for job in jobs]

    def end(self, job_ids: list[str]) -> None:
        """End jobs: a fifth cancelled, a fifth past the deadline, the others by a worker."""
        fifth = len(job_ids) // 5
        self.ledger.cancel(job_ids[:fifth])
        self.ledger.expire(job_ids[fifth : 2 * fifth])
        left = set(job_ids[2 * fifth :])
        while left:
            self.ledger.renew(WORKER)
            hints = [hint.id for hint in self.ledger.dispatch().hints]
            third = len(hints) // 3
            self.run(hints[:third], "parked insufficient_balance")
            self.ledger.cancel(hints[:third])
            self.run(hints[third : 2 * third], "failed")
            self.run(hints[2 * third :], "completed")
            left -= set(hints)
        self.ledger.renew(replace(WORKER, slots=0))

    def run(self, job_ids: Sequence[str], kind: str) -> None:
        """Claim, admit and finish jobs, each step of all of them in one trip."""
        claims = self._make(
            [calls.claim(job_id, f"t-{job_id}", WORKER, self.options) for job_id in job_ids]
        )
        self._make(
            [
                calls.admit(claim, self.options, claim.now, cache_key="", reserve=100, tokens=100)
                for claim in claims
            ]
        )
        endings = [
            (paid if kind == "completed" else unpaid)(
                outcome_of(kind, claim.id, "an answer " * 30, f"key-{claim.id}")
            )
            for claim in claims
        ]
        assert all(
            self._make(
                [
                    finish(claim, ending, self.options, claim.now)
                    for claim, ending in zip(claims, endings, strict=True)
                ]
            )
        )

    def _make(self, many: Sequence[Any]) -> list[Any]:
        with self.redis.pipeline(transaction=False) as pipeline:
            for call in many:
                self.ledger._scripts[call.script](args=("", *call.arguments), client=pipeline)
            return [call.read(reply) for call, reply in zip(many, pipeline.execute(), strict=True)]


def _job(number: int, sha: str) -> NewJob:
    return new_job(
        f"job-{number}",
        images=[{"blob": sha}],
        tenant=f"tenant-{number % TENANTS}",
        model=f"model-{number % 7}",
        priority="bulk" if number % 2 else "interactive",
        batch_id=f"batch-{number // 50}",
        idempotency_key=f"key-{number}",
    )
