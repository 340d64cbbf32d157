"""Render a quote for a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from producer.quote.near_page import lines_of
from visionq.cli.screen import duration, money
from visionq.wording import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from producer.quote.document import CropsQuote, LaneQuote, ModelQuote, Quote, RubleSpan

#: Models of the comparison that are shown; `--json` has them all.
_MOST_MODELS: Final = 12
_MOST_EXAMPLES: Final = 5


def draw(quote: Quote, source: str) -> RenderableType:
    """Return the quote for rich's console."""
    parts: list[RenderableType] = [_facts(quote, source), Text()]
    if quote.models:
        parts += [_comparison(quote), Text()]
    parts += [Text(f"! {warning}", style="bold red") for warning in quote.warnings]
    parts += [Text(f"! {note}", style="yellow") for note in quote.notes]
    return Group(*parts)


def _facts(quote: Quote, source: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("source", source)
    table.add_row("pictures", f"{quote.pictures:,} in {counted(quote.rows, 'row')}")
    if refused := sum(quote.refused.values()):
        table.add_row("refused", f"{refused:,}")
    for code, count in quote.refused.items():
        names = [row.id for row in quote.refusals if row.code == code][:_MOST_EXAMPLES]
        shown = ", ".join(names) + (", …" if count > len(names) else "")
        table.add_row(f"  {code}", Text(f"{count:,}  ({shown})", style="red"))
    if free := _free(quote):
        table.add_row("  free", Text(", ".join(free), style="green"))
    for line in lines_of(quote.near_pairs):
        table.add_row("", Text(line, style="dim"))
    joined = f", {quote.joined:,} of them in the call of another" if quote.joined else ""
    table.add_row("to be asked", f"{quote.asked:,}{joined}")
    if quote.crops.pictures:
        table.add_row("  crops", _crops_line(quote.crops))
    table.add_row("tokens", f"{quote.input_tokens:,} in, {quote.output_tokens:,} out")
    for one in quote.chosen:
        table.add_row("model", _model_line(one))
    table.add_row("cost", _cost_line(quote.rub))
    table.add_row("time", _time_line(quote))
    if len(quote.lanes) > 1:
        now = datetime.now().astimezone()
        table.add_row("lanes", " · ".join(lane_words(one, now) for one in quote.lanes))
    return table


def _free(quote: Quote) -> list[str]:
    counts = {
        "duplicates": quote.duplicates,
        "with a stored answer": quote.stored,
        "near-duplicates": quote.near,
    }
    return [f"{count:,} {what}" for what, count in counts.items() if count]


_LANES: Final = {"online": "all online", "flex": "flex", "batch": "half price", "auto": "auto"}


def lane_words(one: LaneQuote, now: datetime) -> str:
    """Return `all online 6,300 ₽ by 02:10`: the expected price and, if known, the end."""
    end = "" if one.done is None else f" by {moment(one.done.astimezone(now.tzinfo), now)}"
    return f"{_LANES[one.lane]} {money(one.rub.expected)} ₽{end}"


def moment(end: datetime, now: datetime) -> str:
    """Return a time for people: `09:00`, `tomorrow 09:00`, `2026-12-03 09:00`."""
    days = (end.date() - now.date()).days
    day = {0: "", 1: "tomorrow "}.get(days, f"{end.date()} ")
    return f"{day}{end:%H:%M}"


def _model_line(one: ModelQuote) -> Text:
    line = Text.assemble((one.model, "bold"), f", detail {one.detail}")
    if one.effort is not None:
        line.append(f", effort {one.effort}")
    if one.input_rub is not None:
        line.append(f"  {one.input_rub} / {one.output_rub} ₽ a million tokens", style="dim")
        line.append(f"  ({one.price_source}, {one.price_date})", style="dim")
        if not one.confirmed:
            line.append("  unconfirmed", style="yellow")
    if one.ends_before:
        line.append(f"  shuts down {one.ends}, before the end", style="bold red")
    return line


def _crops_line(crops: CropsQuote) -> str:
    cost = "" if crops.rub is None else f", {money(crops.rub)} ₽"
    return f"{crops.pictures:,} cut into {crops.crops:,}: {crops.tokens:,} tokens more{cost}"


def _cost_line(rub: RubleSpan) -> Text:
    if rub.expected is None:
        return Text("not known: a price is missing", style="bold red")
    return Text.assemble(
        (f"{money(rub.expected)} ₽", "bold green"),
        (f"   low {money(rub.low)}, high {money(rub.high)}", "dim"),
    )


def _time_line(quote: Quote) -> str:
    if quote.seconds is None:
        return "unknown: too little has run lately"
    return f"{duration(quote.seconds)} at {quote.per_minute:,.0f} a minute, as of late"


def _comparison(quote: Quote) -> RenderableType:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("", "model", "detail", "effort"):
        table.add_column(name, no_wrap=True)
    for name in ("expected ₽", "low", "high"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("price", no_wrap=True)
    table.add_column("remarks")
    shown = quote.models[:_MOST_MODELS]
    shown += tuple(one for one in quote.models[_MOST_MODELS:] if one.chosen)
    letters: dict[str, str] = {}
    for one in shown:
        letter = letters.setdefault(_origin(one), chr(ord("a") + len(letters)))
        style = "bold green" if one.cheapest else "red" if one.ends_before else ""
        table.add_row(
            "→" if one.chosen else "", one.model, one.detail, one.effort or "",
            money(one.rub.expected),
            money(one.rub.low), money(one.rub.high), letter, _remarks(one), style=style,
        )  # fmt: skip
    lines = [f"{letter}  {origin}" for origin, letter in letters.items()]
    if len(quote.models) > len(shown):
        lines.append(f"{len(quote.models) - len(shown)} dearer ones: --json")
    return Group(table, *(Text(f" {line}", style="dim") for line in lines))


def _origin(one: ModelQuote) -> str:
    """Return the source of a price."""
    return f"{one.price_source}, {one.price_date}{'' if one.confirmed else ', unconfirmed'}"


def _remarks(one: ModelQuote) -> str:
    remarks = ["cheapest"] if one.cheapest else []
    if one.ends_before:
        remarks.append(f"shuts down {one.ends}, before the end")
    elif one.ends is not None:
        remarks.append(f"until {one.ends}")
    if one.factor is not None:
        remarks.append(f"by {counted(one.answers, 'answer')}")
    return ", ".join(remarks)
