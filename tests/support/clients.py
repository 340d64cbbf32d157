"""A small fleet made of the ledger's own transitions, and both clients under one set of words."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from redis.exceptions import RedisError

from tests.support.worker_ledger import WorkerLedger
from visionq import AsyncClient, Client
from visionq.contract import DelayReason, ImageReport, ResultDocument, Usage
from visionq.errors import InsufficientBalance, InvalidOutput, NotAnImage
from visionq.ledger import (
    Billing,
    Claim,
    Completed,
    Ending,
    Outcome,
    Parked,
    Registration,
    failed,
)
from visionq.names import HINT_QUEUES
from visionq.pricing.money import rubles
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from visionq.contract import JobView
    from visionq.errors import VisionqError
    from visionq.settings import Settings

#: Nano-rubles of every answer.
COST = 123_400_000


class Fleet:
    """A worker; the prompt begins with `fail`, `broke`, `park` or `warn`, or is answered."""

    def __init__(self, url: str, *, registered: bool = True) -> None:
        self._is_registered = registered
        self.may_work = threading.Event()
        self.may_work.set()
        self._redis = connect(url, "fleet", retries=0)
        self._ledger = WorkerLedger(self._redis)
        self._registration = Registration("fleet", 64, HINT_QUEUES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        if self._is_registered:
            self._ledger.renew(self._registration)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._redis.close()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            if not self.may_work.is_set():
                continue
            try:
                self._ledger.renew(self._registration)
                for hint in self._ledger.dispatch().hints:
                    self._work(hint.id)
            except RedisError:
                time.sleep(0.05)  # a test has stopped Redis

    def _work(self, job_id: str) -> None:
        claim = self._ledger.claim(job_id, f"token-{job_id}", self._registration)
        if isinstance(claim, Claim):
            self._ledger.admit(claim)
            self._ledger.finish(claim, Ending(_outcome(claim), Billing.SETTLED, COST))


def _outcome(claim: Claim) -> Outcome:
    match claim.document.prompt.split()[0]:
        case "fail":
            return failed(NotAnImage("no picture type known", image="a.png"))
        case "broke":
            return failed(InsufficientBalance("nothing left"))
        case "malformed":
            return failed(InvalidOutput("words: missing", text="Что это?", cost_rub=rubles(COST)))
        case "park":
            return Parked(DelayReason.INSUFFICIENT_BALANCE)
        case "warn":
            image = ImageReport(name="a.png", warnings=("blurred",))
            answer = {"images": (image,), "cached": True, "cost_is_estimate": True}
            return Completed(_answer(claim).model_copy(update=answer))
    return Completed(_answer(claim))


def _answer(claim: Claim) -> ResultDocument:
    return ResultDocument(
        id=claim.id,
        model=claim.document.model or "",
        api=claim.document.api,
        text=f"answer to {claim.document.prompt}",
        data=_data(claim),
        usage=Usage(input_tokens=1200, output_tokens=34),
        cost_rub=rubles(COST),
        metadata=claim.document.metadata,
    )


def _data(claim: Claim) -> dict[str, Any] | None:
    """Return what such a model answers that was asked for the words of its question."""
    if claim.document.answer_schema is None:
        return None
    return {"words": claim.document.prompt.split()}


class Threaded:
    """`Client`, its calls made in threads."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.client = Client(settings, url)

    async def close(self) -> None:
        self.client.close()

    async def submit(self, prompt: str = "What?", **fields: Any) -> str:
        fields.setdefault("images", [prompt.encode()])
        return (await asyncio.to_thread(self.client.submit, prompt=prompt, **fields)).id

    async def submit_many(self, jobs: Iterable[Mapping[str, Any]], into: list[str]) -> None:
        def consume() -> None:
            into.extend(job.id for job in self.client.submit_many(jobs))

        await asyncio.to_thread(consume)

    async def get(self, job: str) -> JobView:
        return await asyncio.to_thread(self.client.get, job)

    async def cancel(self, job: str) -> JobView:
        return await asyncio.to_thread(self.client.cancel, job)

    async def wait(self, job: str, timeout: float | None = None) -> ResultDocument:  # noqa: ASYNC109  # as the client has it
        return await asyncio.to_thread(self.client.wait, job, timeout)

    async def results(
        self,
        jobs: Iterable[str],
        into: dict[str, ResultDocument | VisionqError],
        timeout: float | None = None,  # noqa: ASYNC109  # as the client has it
    ) -> None:
        def consume() -> None:
            for job, end in self.client.results(jobs, timeout):
                into[str(job)] = end

        await asyncio.to_thread(consume)


class Native:
    """`AsyncClient`, its iterators consumed."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.client = AsyncClient(settings, url)

    async def close(self) -> None:
        await self.client.aclose()

    async def submit(self, prompt: str = "What?", **fields: Any) -> str:
        fields.setdefault("images", [prompt.encode()])
        return (await self.client.submit(prompt=prompt, **fields)).id

    async def submit_many(self, jobs: Iterable[Mapping[str, Any]], into: list[str]) -> None:
        async for job in self.client.submit_many(jobs):
            into.append(job.id)  # noqa: PERF401  # what came before an error counts too

    async def get(self, job: str) -> JobView:
        return await self.client.get(job)

    async def cancel(self, job: str) -> JobView:
        return await self.client.cancel(job)

    async def wait(self, job: str, timeout: float | None = None) -> ResultDocument:  # noqa: ASYNC109  # as the client has it
        return await self.client.wait(job, timeout)

    async def results(
        self,
        jobs: Iterable[str],
        into: dict[str, ResultDocument | VisionqError],
        timeout: float | None = None,  # noqa: ASYNC109  # as the client has it
    ) -> None:
        async for job, end in self.client.results(jobs, timeout):
            into[str(job)] = end
