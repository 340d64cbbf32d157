"""Progress of a run: its figures, for a terminal and for a log."""

from __future__ import annotations

import sys
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from producer.stack import REMIND_EVERY, Reminder, closed_gate
from visionq.cli.batches import progress
from visionq.cli.screen import duration, money
from visionq.cli.shared import print_wrapped
from visionq.errors import BillingUnknown
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.live import Live

    from producer.run.session import RunCounts

#: Seconds over which the rate is taken.
_RATE_OVER: Final = 60.0
CODES_SHOWN: Final = 5
#: How a census counts rows that are in a batch, or go into the next one.
IN_BATCH: Final = "waiting (batch)"


@dataclass
class Tally:
    """Counts of the rows in OUT, earlier ones and those of this run."""

    #: Rows of OUT that are kept, and their errors.
    before: int = 0
    failed_before: Counter[str] = field(default_factory=Counter)
    #: Rubles that OUT had cost before this run.
    paid_before: Decimal = Decimal(0)
    #: Rows to ask about, and their cost by the quote.
    to_ask: int = 0
    expected: Decimal | None = None
    rows: int = 0
    cached: int = 0
    near: int = 0
    spent: Decimal = Decimal(0)
    failed_now: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.start(0)

    def start(self, now: float) -> None:
        """Measure the rate from now on."""
        self._moments: deque[tuple[float, int]] = deque([(now, self.rows)])
        self._rests_since: float | None = None
        self._rested = 0.0

    def rest(self, now: float, *, rests: bool) -> None:
        """Note whether the run is blocked; blocked time does not count for the rate."""
        if rests and self._rests_since is None:
            self._rests_since = now
        elif not rests and self._rests_since is not None:
            self._rested += now - self._rests_since
            self._rests_since = None

    def take(self, rows: Iterable[dict[str, Any]], paid_earlier: Decimal, now: float) -> None:
        """Count written rows; `paid_earlier` was paid for their earlier attempts."""
        for row in rows:
            self.rows += 1
            self.spent += Decimal(row["cost_rub"])
            self.cached += row["cached"]
            self.near += row.get("near") is not None
            if row["error"] is not None:
                self.failed_now[row["error"]["code"]] += 1
        self.spent -= paid_earlier
        worked = self._worked(now)
        self._moments.append((worked, self.rows))
        while worked - self._moments[0][0] > _RATE_OVER and len(self._moments) > 2:  # noqa: PLR2004  # a span has two ends
            self._moments.popleft()

    @property
    def failed(self) -> Counter[str]:
        """Error code → rows, of all that are done."""
        return self.failed_before + self.failed_now

    @property
    def has_answers(self) -> bool:
        """Whether this run has got an answer, so that its model exists."""
        return self.rows > self.failed_now.total()

    @property
    def done(self) -> int:
        """Rows in OUT."""
        return self.before + self.rows

    @property
    def total(self) -> int:
        """Rows of the source."""
        return self.before + max(self.to_ask, self.rows)

    @property
    def paid(self) -> Decimal:
        """Rubles paid for all rows of OUT."""
        return self.paid_before + self.spent

    @property
    def forecast(self) -> Decimal | None:
        """Rubles that all rows of OUT will have cost in the end."""
        if self.expected is None:
            return None
        return self.paid + self.expected * self.left / max(1, self.to_ask)

    @property
    def left(self) -> int:
        """Rows left to ask about."""
        return max(0, self.to_ask - self.rows)

    def rate(self, now: float) -> float:
        """Return recent rows per second, without blocked time."""
        then, rows = self._moments[0]
        worked = self._worked(now)
        return (self.rows - rows) / (worked - then) if worked > then else 0.0

    def eta(self, now: float) -> float | None:
        """Return the seconds until all rows are done, or None without a rate."""
        if self._rests_since is not None or self.rows == 0:
            return None
        rate = self.rate(now)
        return self.left / rate if rate > 0 else None

    def _worked(self, now: float) -> float:
        rests = 0.0 if self._rests_since is None else now - self._rests_since
        return now - self._rested - rests


def listed(codes: Counter[str]) -> str:
    """Return the counts by code, the most frequent first; they add up to all failures."""
    shown = codes.most_common(CODES_SHOWN)
    parts = [f"{code} {count:,}" for code, count in shown]
    if others := codes.total() - sum(count for _, count in shown):
        parts.append(f"others {others:,}")
    return ", ".join(parts)


def without_answer(codes: Counter[str]) -> str:
    """Return the number of failed rows, by code, and of rows with unknown billing.

    A row whose call may have been billed has not failed: its answer may exist and be paid for.
    """
    failed = Counter(codes)
    unknown = failed.pop(BillingUnknown.code, 0)
    parts = [f"{failed.total():,} failed ({listed(failed)})"] if failed else []
    parts += [f"{unknown:,} of unknown billing"] if unknown else []
    return ", ".join(parts)


#: Seconds between two lines in a log, and between two pictures in a terminal.
_LINE_EVERY: Final = 10.0
_DRAW_EVERY: Final = 0.25
_BAR: Final = 30


def rubles(amount: Decimal) -> str:
    """Return an amount for people, with its unit."""
    return f"{money(amount)} ₽"


def standing(tally: Tally, now: float, *, rests: bool = False) -> str:
    """Return the figures in one line; a run that `rests` has no time left."""
    parts = [f"{tally.done:,} of {tally.total:,} done"]
    if failed := tally.failed:
        parts.append(without_answer(failed))
    if tally.cached:
        near = f", {tally.near:,} of near-duplicates" if tally.near else ""
        parts.append(f"{tally.cached:,} from cached answers{near}")
    parts.append(f"{tally.rate(now):,.1f}/s")
    forecast = tally.forecast
    expected = f" of about {rubles(forecast)}" if forecast is not None and tally.left else ""
    parts.append(f"{rubles(tally.paid)}{expected}")
    if tally.left:
        eta = None if rests else tally.eta(now)
        parts.append("time left unknown" if eta is None else f"{duration(eta)} left")
    return " · ".join(parts)


def waits(census: RunCounts | None, trouble: str | None) -> str | None:
    """Return the reason why a run is blocked, or None."""
    if trouble is not None:
        return trouble
    if census is None:
        return None
    if census.unserved is not None:
        return f"{census.unserved}; {census.states.total():,} jobs wait"
    if (closed := closed_gate(census.gate)) is not None:
        return closed
    if census.states and not census.states["in_progress"]:
        kept = [(what, count) for what, count in census.states.items() if "(" in what]
        if kept and sum(count for _, count in kept) == census.states.total():
            others = [f"{count:,} {what}" for what, count in kept if what != IN_BATCH]
            return "waiting: " + ", ".join(filter(None, (in_batches(census), *others)))
    return None


def in_batches(census: RunCounts) -> str | None:
    """Return the progress of the batches with rows of the run, or None."""
    rows = sum(map(len, census.lines.values()))
    parts = []
    if rows:
        batches = counted(len(census.batches), "batch", "batches")
        parts.append(f"{counted(rows, 'row')} in {batches} ({progress(census.batches, census.at)})")
    if (left := census.states[IN_BATCH] - rows) > 0:
        parts.append(f"{left:,} rows for the next batch")
    return ", ".join(parts) or None


class Lines:
    """Prints a line every few seconds, and at once when the run is blocked or goes on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = clock() + _LINE_EVERY / 5
        self._reminder = Reminder(clock)

    def show(self, tally: Tally, kept_back: str | None, batches: str | None = None) -> None:
        """Print a line if it is due."""
        now = self._clock()
        if self._reminder.is_due(kept_back):
            self.say(kept_back or "goes on")
        if now >= self._next:
            self._next = now + (_LINE_EVERY if kept_back is None else REMIND_EVERY)
            self.say(standing(tally, now, rests=kept_back is not None))
            if batches is not None:
                self.say(batches)

    def say(self, line: str) -> None:
        """Print a line on stderr; a closed stderr does not stop the run."""
        with suppress(OSError):
            click.echo(line, err=True)

    def close(self) -> None:
        """Do nothing."""


class Screen:
    """Some lines at the bottom of a terminal; other lines scroll above them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        from rich.console import Console  # noqa: PLC0415  # only for terminals
        from rich.live import Live  # noqa: PLC0415  # likewise

        self._clock = clock
        self._next = 0.0
        self._last = ""
        console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
        self._live: Live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def show(self, tally: Tally, kept_back: str | None, batches: str | None = None) -> None:
        """Draw the lines again."""
        now = self._clock()
        shown = (*self._lines(tally, kept_back, now), batches)
        self._last = "\n".join(line for line in shown if line is not None)
        if now >= self._next:
            self._next = now + _DRAW_EVERY
            self._draw()

    def _draw(self) -> None:
        with suppress(OSError):
            self._live.update(self._last, refresh=True)

    def _lines(self, tally: Tally, kept_back: str | None, now: float) -> Iterator[str]:
        if tally.total:
            share = min(1.0, tally.done / tally.total)
            full = int(share * _BAR)
            yield f"{'█' * full}{'░' * (_BAR - full)} {share:4.0%}"
        yield standing(tally, now, rests=kept_back is not None)
        if kept_back is not None:
            yield kept_back

    def say(self, line: str) -> None:
        """Print a line above."""
        with suppress(OSError):
            self._live.console.print(line)

    def close(self) -> None:
        """Draw the lines a last time and leave them."""
        self._draw()
        with suppress(OSError):
            self._live.stop()


def open_display(clock: Callable[[], float]) -> Lines | Screen:
    """Return a screen if stderr is a terminal, else lines."""
    kind = Screen if sys.stderr.isatty() else Lines
    return kind(clock)


@dataclass(frozen=True, slots=True)
class Terminal:
    """Talks to people on stderr; stdout is for `--json` alone."""

    yes: bool = False
    as_json: bool = False

    def say(self, line: str = "") -> None:
        """Print a line; a closed stderr does not stop the run."""
        with suppress(OSError):
            print_wrapped(line)

    def agree(self, question: str) -> bool:
        """Ask the user, unless `--yes` was given.

        Raises:
            click.UsageError: there is no terminal to ask.
        """
        if self.yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.UsageError(
                "there is no terminal to ask: check the cost above, then add --yes"
            )
        return click.confirm(question, err=True)
