"""A packer put together by hand: real Redis, a provider in memory, a clock that tests move."""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from tests.support.awaited import InThreads
from tests.support.batch_provider import INPUT_TOKENS, OUTPUT_TOKENS, MemoryBatchApi
from tests.support.ledger import Clock
from tests.support.pictures import picture
from tests.support.worker import Parts, dependencies_of
from tests.support.worker_ledger import WorkerLedger
from visionq.blobs import open_blobs
from visionq.contract import Api, Lane, Usage
from visionq.ledger import LedgerOptions, NewJob, Registration, Submitted
from visionq.ledger.provider_batches import BatchSupport, write_support
from visionq.names import CELERY_RESULT, HINT_QUEUES, QUEUE_BATCH
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.prices import cost_nano_rubles, load_prices
from visionq.settings import Settings
from visionq.submission import prepare
from worker.event_loop import EventLoop
from worker.packing import Packer, PackerParts
from worker.packing.leadership import Leadership
from worker.threads.heartbeat import Leases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.ledger import Hint, Ledger
    from worker.pipeline import Dependencies

#: The model of all jobs that name none.
MODEL: Final = "gpt-6-luna"
_numbers = itertools.count(1)


@dataclass
class PackerBench(Parts):
    """One ledger, one provider, and as many packers as a test kills."""

    redis: Redis
    options: LedgerOptions = field(default_factory=LedgerOptions)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.settings = Settings(
            api_key=SecretStr("sk-canary-key-4242"),
            redis_url=SecretStr("redis://unused"),
            base_url="http://127.0.0.1:1/v1",
        )
        self.start = self.clock.now
        self.ledger = WorkerLedger(self.redis, self.options, self.clock)
        self.provider = MemoryBatchApi(self.clock)
        self.blobs = open_blobs(self.settings, self.redis)
        self.dependencies = dependencies_of(
            self.settings, lambda: self.ledger, lambda: self.blobs, monotonic=self.clock
        )
        self.loop = EventLoop(8)
        self.loop.start()
        self.leases = Leases()
        self.here = Registration("w1", 0, (QUEUE_BATCH,), key="k1")

    @staticmethod
    def half_price(lines: int) -> int:
        """Return what answered lines cost, in nano-rubles."""
        price = load_prices().for_model(MODEL)
        assert price is not None
        usage = Usage(input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS)
        return lines * cost_nano_rubles(price.times(0.5), usage)

    def packer(self, **changes: Any) -> Packer:
        parts: dict[str, Any] = {
            "ledger": self.ledger,
            "dependencies": self.dependencies,
            "run": self.loop.run,
            "leases": self.leases,
            "registration": self.here,
            "api": self.provider,
            "table": load_batch_table(None),
            "leadership": Leadership(self.redis, self.here.key),
            "clock": self.clock,
        }
        return Packer(PackerParts(**{**parts, **changes}))

    def submit(
        self,
        number: int | None = None,
        by: datetime | None = None,
        ledger: Ledger | None = None,
        **fields: Any,
    ) -> str:
        """Enter a job about a picture of its own; returns its id."""
        number = next(_numbers) if number is None else number
        (sha,) = self.blobs.put([picture(number)])
        document = prepare(
            {
                "prompt": "What?",
                "images": [{"blob": sha}],
                "priority": "bulk",
                "lane": Lane.BATCH,
                **fields,
            },
            self.settings,
        )
        document = document.model_copy(update={"by": by})  # by the clock of the test
        (reply,) = (ledger or self.ledger).submit([NewJob(f"job-{next(_numbers)}", document)])
        assert isinstance(reply, Submitted), reply
        return reply.id

    def moment(self, seconds: float) -> datetime:
        """Return the moment that is `seconds` from now."""
        return datetime.fromtimestamp(self.clock.now + seconds, UTC)

    def online_worker(self) -> Registration:
        registration = Registration("online", 8, HINT_QUEUES, key="k1")
        self.ledger.renew(registration)
        return registration

    def pass_time(self, seconds: float, step: float = 3) -> list[Hint]:
        """Let time pass while dispatchers live; returns what they hint at."""
        hints: list[Hint] = []
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + step)
            found = self.ledger.dispatch()
            hints += found.hints
            self.ledger.expire(found.expired)
        return hints

    def pack(self, packer: Packer) -> str:
        """Run until a batch is out; return its id at the provider."""
        packer.run()
        packer.run()
        return f"batch_{len(self.provider.batches)}"

    def start_anew(self) -> None:
        """Forget everything."""
        self.redis.flushall()
        self.provider = MemoryBatchApi(self.clock)

    def text(self, job_id: str) -> str:
        """Return the answer to a completed job."""
        stored: Any = self.redis.get(CELERY_RESULT + job_id)
        return str(json.loads(stored)["result"]["text"])


@contextmanager
def proven_bench(redis: Redis) -> Iterator[PackerBench]:
    """A bench whose provider is known to take pictures in batches."""
    bench = PackerBench(redis)
    write_support(redis, "k1", MODEL, Api.RESPONSES, BatchSupport(works=True))
    yield bench
    bench.close()


def without_flex(dependencies: Dependencies) -> Dependencies:
    """Return them with a seller that has no tier between online and batches."""
    profile = dependencies.profile.model_copy(update={"flex": None})
    return replace(dependencies, profile=profile)


class KilledError(BaseException):
    """The process ends here."""


class Killer:
    """Ends the process before, or after, the n-th thing that it does to the world."""

    def __init__(self, number: int, *, after: bool) -> None:
        self._left = number
        self._after = after
        self.fired = False

    def __call__(self, do: Any, *arguments: Any, **options: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            self.fired = True
            raise KilledError
        result = do(*arguments, **options)
        if self._left == 0:
            self.fired = True
            raise KilledError
        return result


class Mortal:
    """Another object, each of whose calls may be the last."""

    def __init__(self, inner: Any, killer: Killer) -> None:
        self._inner = inner
        self._killer = killer

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name in {"redis", "options"}:
            return found
        return partial(self._killer, found)


def mortal_packer(bench: PackerBench, killer: Killer) -> Packer:
    mortal: Any = Mortal(bench.ledger, killer)
    in_threads: Any = InThreads(lambda: mortal)
    dependencies = replace(bench.dependencies, ledger=in_threads)
    api = Mortal(bench.provider, killer)
    return bench.packer(api=api, ledger=mortal, dependencies=dependencies)


def take_over(bench: PackerBench) -> Packer:
    """Return a packer of another process, once the lease of the dead one has lapsed."""
    bench.redis.delete("visionq:watch:packer:k1")
    bench.pass_time(70)
    return bench.packer()
