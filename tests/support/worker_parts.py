"""Parts of a worker for unit tests: a claim, dependencies without a network, a scripted ledger."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

from tests.support.awaited import Awaited
from visionq.contract import parse_job
from visionq.ledger import Claim
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.settings import Settings
from worker.images import DecodeSlots, ImageLimits
from worker.pipeline import Attempt, Dependencies
from worker.threads.statistics import StatisticsWriter

NOW = 1_800_000_000.0
MODEL = "gpt-6-luna"


class Clock:
    """Seconds that pass when set, or slept."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class ScriptedLedger:
    """Answers each call with the next of its replies; raises those that are errors."""

    replies: dict[str, list[Any]] = field(default_factory=dict)
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = {name: deque(replies) for name, replies in self.replies.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls.append((name, (*args, *options.values())))
            reply = self._left[name].popleft()
            if isinstance(reply, Exception):
                raise reply
            return reply

        return call

    def said(self, name: str) -> list[tuple[Any, ...]]:
        return [args for called, args in self.calls if called == name]


def dependencies(ledger: Any = None, clock: Clock | None = None, **replaced: Any) -> Dependencies:
    clock, ledger = clock or Clock(), ledger or ScriptedLedger()
    parts: dict[str, Any] = {
        "settings": Settings.model_construct(default_model=MODEL, max_attempts=3),
        "ledger": Awaited(ledger),
        "statistics": StatisticsWriter(ledger),
        "blobs": cast("Any", None),
        "fetcher": cast("Any", None),
        "client": cast("Any", None),
        "prices": load_prices(),
        "rules": load_rules(),
        "limits": ImageLimits(),
        "decode_slots": DecodeSlots(1),
        "monotonic": clock,
        "random": lambda: 0.5,
        "sleep": Awaited(clock).sleep,
    }
    return Dependencies(**{**parts, **replaced})


def claim(**fields: Any) -> Claim:
    """Return a claim; what is no field of a claim is one of its document."""
    own = {name: fields.pop(name) for name in tuple(fields) if name in Claim.__dataclass_fields__}
    document = {
        "prompt": "What?",
        "images": [{"url": "https://example.com/a.png"}],
        "model": MODEL,
        "max_output_tokens": 100,
        **fields,
    }
    job_id = own.get("id", "job-1")
    parts: dict[str, Any] = {
        "id": job_id,
        "token": f"t-{job_id}",
        "document": parse_job(document),
        "now": NOW,
        "submitted": NOW,
        "attempts": 0,
        "waits": 0,
        "unknown_calls": 0,
        "interrupted": False,
        "lapses": 0,
        "cost": 0,
    }
    return Claim(**{**parts, **own})


def attempt(taken: Claim | None = None, with_dependencies: Dependencies | None = None) -> Attempt:
    return Attempt(taken or claim(), with_dependencies or dependencies())
