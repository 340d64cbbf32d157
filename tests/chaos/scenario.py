"""What a scenario is: one promise, a fleet to break, and the figures that it is held to."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.chaos.fleet import ChaosFleet

Figure = int | float | str


class Skipped(Exception):  # nothing is wrong
    """What the scenario needs is not on this machine."""


@dataclass(frozen=True)
class Goal:
    """One figure and what it has to be."""

    name: str
    figure: Figure
    wanted: str
    met: bool


@dataclass
class Scene:
    """One run of a scenario: how large it is, its chances, and what it found."""

    folder: Path
    seed: int = 0
    quick: bool = False
    #: Share of the full size, for machines that others use too.
    scale: float = 1.0
    #: A broker apart from the ledger's Redis, such as RabbitMQ.
    broker: str | None = None
    goals: list[Goal] = field(default_factory=list)
    notes: dict[str, Figure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else max(quick, round(full * self.scale))

    def seconds(self, full: float, quick: float) -> float:
        """Return a time, which no machine is too slow for."""
        return quick if self.quick else full

    def fleet(self, **options: Any) -> AbstractContextManager[ChaosFleet]:
        from tests.chaos.fleet import chaos_fleet  # noqa: PLC0415  # takes seconds to import

        extra = dict(options.pop("extra", {}))
        if self.broker is not None:
            extra.setdefault("VISIONQ_BROKER_URL", self.broker)
        return chaos_fleet(self.folder, self.random, extra=extra, **options)

    def equal(self, name: str, figure: Figure, wanted: Figure) -> None:
        self.goals.append(Goal(name, figure, f"= {_shown(wanted)}", figure == wanted))

    def at_most(self, name: str, figure: float, limit: float) -> None:
        self.goals.append(Goal(name, _rounded(figure), f"≤ {_shown(limit)}", figure <= limit))

    def at_least(self, name: str, figure: float, limit: float) -> None:
        self.goals.append(Goal(name, _rounded(figure), f"≥ {_shown(limit)}", figure >= limit))

    def note(self, **figures: Figure) -> None:
        """Keep figures that nothing was promised of."""
        self.notes |= {name.replace("_", " "): _rounded(value) for name, value in figures.items()}

    @property
    def missed(self) -> list[Goal]:
        return [goal for goal in self.goals if not goal.met]


@dataclass(frozen=True)
class Scenario:
    """A promise, and the function that tries to break it."""

    name: str
    promise: str
    run: Callable[[Scene], None]
    #: Part of the minute that `make test` spends on this.
    in_tests: bool = False
    #: Keeps the machine busy: no other such scenario runs beside it.
    busy: bool = False


def _rounded(figure: Figure) -> Figure:
    return round(figure, 2) if isinstance(figure, float) else figure


def _shown(figure: Figure) -> str:
    return f"{figure:,}" if isinstance(figure, int | float) else figure
