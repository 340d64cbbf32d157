"""How a run stands, for people: a few lines that stay in place, or plain lines in a log."""

from __future__ import annotations

import sys
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import click

from producer.holdups import Reminder, closed_gate
from producer.run.tally import without_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.live import Live

    from producer.run.collecting import RunCounts
    from producer.run.tally import Tally

#: Seconds between two lines in a log, and between two pictures in a terminal.
_LINE_EVERY: Final = 10.0
_DRAW_EVERY: Final = 0.25
_BAR: Final = 30
_MINUTE: Final = 60
_HOUR: Final = 3600


def rubles(amount: Decimal) -> str:
    """Return an amount as people read it: kopecks, or four digits of less."""
    places = Decimal("0.01") if amount >= 1 or not amount else Decimal("0.0001")
    return f"{amount.quantize(places):,} ₽"


def duration(seconds: float) -> str:
    """Return a time to wait: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds // _HOUR:.0f} h {seconds % _HOUR / _MINUTE:.0f} min"


def standing(tally: Tally, now: float, *, rests: bool = False) -> str:
    """Return the figures in one line; of what rests it can't be told how long it takes."""
    parts = [f"{tally.done:,} of {tally.total:,} done"]
    if failed := tally.failed:
        parts.append(without_answer(failed))
    if tally.cached:
        parts.append(f"{tally.cached:,} from stored answers")
    parts.append(f"{tally.rate(now):,.1f}/s")
    forecast = tally.forecast
    expected = f" of about {rubles(forecast)}" if forecast is not None and tally.left else ""
    parts.append(f"{rubles(tally.paid)}{expected}")
    if tally.left:
        eta = None if rests else tally.eta(now)
        parts.append("time left unknown" if eta is None else f"{duration(eta)} left")
    return " · ".join(parts)


def waits(census: RunCounts | None, trouble: str | None) -> str | None:
    """Return what keeps a run back, if anything does."""
    if trouble is not None:
        return trouble
    if census is None:
        return None
    if census.unserved is not None:
        return f"{census.unserved}; {census.standing.total():,} jobs wait"
    if (closed := closed_gate(census.gate)) is not None:
        return closed
    if census.standing and not census.standing["in_progress"]:
        kept = [(what, count) for what, count in census.standing.items() if "(" in what]
        if kept and sum(count for _, count in kept) == census.standing.total():
            return "waiting: " + ", ".join(f"{count:,} {what}" for what, count in kept)
    return None


class Lines:
    """A line every few seconds, and at once when something keeps the run back or does no more."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = clock() + _LINE_EVERY / 5
        self._reminder = Reminder(clock)

    def show(self, tally: Tally, kept_back: str | None) -> None:
        """Print a line if it is time to."""
        now = self._clock()
        if self._reminder.is_due(kept_back):
            self.say(kept_back or "goes on")
        if now >= self._next:
            self._next = now + _LINE_EVERY
            self.say(standing(tally, now, rests=kept_back is not None))

    def say(self, line: str) -> None:
        """Print a line on stderr; that nobody reads it any more is no reason to stop."""
        with suppress(OSError):
            click.echo(line, err=True)

    def close(self) -> None:
        """Have nothing to put away."""


class Screen:
    """Three lines that stay in place, above which others pass."""

    def __init__(self, clock: Callable[[], float]) -> None:
        from rich.console import Console  # noqa: PLC0415  # only people need it
        from rich.live import Live  # noqa: PLC0415  # likewise

        self._clock = clock
        self._next = 0.0
        self._last = ""
        console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
        self._live: Live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def show(self, tally: Tally, kept_back: str | None) -> None:
        """Draw the lines again."""
        now = self._clock()
        self._last = "\n".join(self._lines(tally, kept_back, now))
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
        """Print a line above the others."""
        with suppress(OSError):
            self._live.console.print(line)

    def close(self) -> None:
        """Leave the last picture on the screen."""
        self._draw()
        with suppress(OSError):
            self._live.stop()


def open_display(clock: Callable[[], float]) -> Lines | Screen:
    """Return what suits stderr: a screen for a terminal, else lines."""
    kind = Screen if sys.stderr.isatty() else Lines
    return kind(clock)
