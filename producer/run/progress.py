"""How a run stands, for people: a few lines that stay in place, or plain lines in a log."""

from __future__ import annotations

import sys
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.live import Live

    from producer.run.collecting import Census
    from producer.run.tally import Tally

#: Seconds between two lines in a log, and between two pictures in a terminal.
_LINE_EVERY: Final = 10.0
_DRAW_EVERY: Final = 0.25
_CODES_SHOWN: Final = 4
_BAR: Final = 30
_MINUTE: Final = 60
_HOUR: Final = 3600

#: Why a gate is closed → what is to be said.
_GATES: Final = {
    "insufficient_balance": "the balance is used up",
    "key_rejected": "the provider does not accept the key",
    "access_denied": "the key may not be used from here",
    "operator": "an operator has closed the gate",
}


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


def standing(tally: Tally, total: int | None, forecast: Decimal | None, now: float) -> str:
    """Return the figures in one line."""
    of = f" of {total:,}" if total is not None else ""
    parts = [f"{tally.done:,}{of} done"]
    if tally.failed:
        codes = tally.failed.most_common(_CODES_SHOWN)
        more = ", …" if len(tally.failed) > _CODES_SHOWN else ""
        listed = ", ".join(f"{code} {count:,}" for code, count in codes)
        parts.append(f"{tally.failures:,} failed ({listed}{more})")
    if tally.cached:
        parts.append(f"{tally.cached:,} from stored answers")
    parts.append(f"{tally.rate(now):,.1f}/s")
    expected = f" of about {rubles(forecast)}" if forecast is not None else ""
    parts.append(f"{rubles(tally.paid)}{expected}")
    eta = tally.eta(now, total)
    if eta is not None and total is not None and tally.done < total:
        parts.append(f"{duration(eta)} left")
    return " · ".join(parts)


def waits(census: Census | None, trouble: str | None) -> str | None:
    """Return what keeps a run back, if anything does."""
    if trouble is not None:
        return trouble
    if census is None:
        return None
    if census.gate.state == "closed":
        reason = census.gate.reason or ""
        since = f" since {census.gate.since.astimezone():%H:%M:%S}" if census.gate.since else ""
        said = _GATES.get(reason, reason)
        return f"waiting: {said}{since}; goes on by itself when that is mended"
    if census.gate.held:
        held = ", ".join(f"{scope} ({reason})" for scope, reason in census.gate.held.items())
        return f"held: {held}"
    if census.standing and not census.standing["in_progress"]:
        kept = [(what, count) for what, count in census.standing.items() if "(" in what]
        if kept and sum(count for _, count in kept) == census.standing.total():
            return "waiting: " + ", ".join(f"{count:,} {what}" for what, count in kept)
    return None


class Lines:
    """A line every few seconds, and at once when something keeps the run back or does no more."""

    def __init__(
        self, total: int | None, forecast: Decimal | None, clock: Callable[[], float]
    ) -> None:
        self.total = total
        self.forecast = forecast
        self._clock = clock
        self._next = clock() + _LINE_EVERY / 5
        self._told: str | None = None

    def show(self, tally: Tally, census: Census | None, trouble: str | None) -> None:
        """Print a line if it is time to."""
        now, kept_back = self._clock(), waits(census, trouble)
        if kept_back != self._told:
            self._told = kept_back
            self.say(kept_back or "goes on")
        if now >= self._next:
            self._next = now + _LINE_EVERY
            self.say(standing(tally, self.total, self.forecast, now))

    def say(self, line: str) -> None:
        """Print a line on stderr; that nobody reads it any more is no reason to stop."""
        with suppress(OSError):
            click.echo(line, err=True)

    def close(self) -> None:
        """Have nothing to put away."""


class Screen:
    """Three lines that stay in place, above which others pass."""

    def __init__(
        self, total: int | None, forecast: Decimal | None, clock: Callable[[], float]
    ) -> None:
        from rich.console import Console  # noqa: PLC0415  # only people need it
        from rich.live import Live  # noqa: PLC0415  # likewise

        self.total = total
        self.forecast = forecast
        self._clock = clock
        self._next = 0.0
        self._last = ""
        console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
        self._live: Live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def show(self, tally: Tally, census: Census | None, trouble: str | None) -> None:
        """Draw the lines again."""
        now = self._clock()
        self._last = "\n".join(self._lines(tally, census, trouble, now))
        if now >= self._next:
            self._next = now + _DRAW_EVERY
            self._draw()

    def _draw(self) -> None:
        with suppress(OSError):
            self._live.update(self._last, refresh=True)

    def _lines(
        self, tally: Tally, census: Census | None, trouble: str | None, now: float
    ) -> Iterator[str]:
        if self.total:
            share = min(1.0, tally.done / self.total)
            full = int(share * _BAR)
            yield f"{'█' * full}{'░' * (_BAR - full)} {share:4.0%}"
        yield standing(tally, self.total, self.forecast, now)
        if (kept_back := waits(census, trouble)) is not None:
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


def open_display(
    total: int | None, forecast: Decimal | None, clock: Callable[[], float]
) -> Lines | Screen:
    """Return what suits stderr: a screen for a terminal, else lines."""
    kind = Screen if sys.stderr.isatty() else Lines
    return kind(total, forecast, clock)
