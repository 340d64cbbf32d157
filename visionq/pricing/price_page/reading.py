"""A price list as it was copied: the prices of its models, or why it is none."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from visionq.data import bare_model
from visionq.errors import InvalidSource
from visionq.pricing.price_page.cells import Column, cleaned, is_foreign, price_of, shown
from visionq.pricing.price_page.forms import heading_of, rows_of_stack, rows_of_table, split_lines
from visionq.pricing.price_page.markup import is_markup, lines_of_markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.pricing.price_page.forms import PageLine, PriceRow

#: Bytes. No list of prices is longer.
MOST_BYTES: Final = 10_000_000
#: Rubles for a million tokens: as much as a price table takes.
_MOST: Final = Decimal(1_000_000)
_RUBLES: Final = re.compile(r"₽|\bруб|\brub\b|\bр\.", re.IGNORECASE)
_PER_MILLION: Final = re.compile(
    r"1\s*000\s*000|1000000|\b1\s*[mм]\b|млн|миллион|/\s*[mм]\b|million", re.IGNORECASE
)
_PER_THOUSAND: Final = re.compile(
    r"\b1\s*000\s*ток|\b1\s*[kк]\b|тыс|thousand|/\s*[kк]\b", re.IGNORECASE
)
_LOGIN: Final = re.compile(r"парол|войти|авториз|password|log ?in|sign ?in", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PagePrice:
    """What the page says of one model: rubles for a million tokens; None: it says nothing."""

    model: str
    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_12h: Decimal | None = None

    def told(self) -> dict[str, Decimal]:
        """Return the fields that the page fills."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "model"}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class PricePage:
    """All prices of a page."""

    prices: tuple[PagePrice, ...]
    #: Models that stand there without a price of input and one of output.
    passed_over: tuple[str, ...]


def read_price_page(content: bytes, name: str) -> PricePage:
    """Return the prices that a page shows; `name` is what errors call it.

    Raises:
        InvalidSource: it is no list of prices in rubles for a million tokens, or one of its rows
            can't be right; the message says which.
    """
    text = _text(content, name)
    lines = split_lines(text)
    prices: dict[str, PagePrice] = {}
    passed_over = []
    for row in _rows(lines, name):
        price = _price(row, name)
        if price is None:
            passed_over.append(row.model)
        elif prices.setdefault(price.model, price) != price:
            raise InvalidSource(
                f"{name}, line {row.line}: {price.model} stands there twice with different prices:"
                " copy the ordinary prices alone, without those of batches"
            )
    if not prices:
        raise InvalidSource(f"{name}: {_why_none(text)}")
    _check_units(text, name)
    return PricePage(tuple(prices.values()), tuple(dict.fromkeys(passed_over)))


def _text(content: bytes, name: str) -> str:
    if len(content) > MOST_BYTES:
        raise InvalidSource(f"{name}: more than {MOST_BYTES:,} bytes: no list of prices is so long")
    is_wide = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidSource(f"{name}: not a text in UTF-8; save the page as such") from None
    try:
        return cleaned(lines_of_markup(text) if is_markup(text) else text)
    except ValueError as error:
        raise InvalidSource(f"{name}: its HTML is broken ({error}); save the page again") from None


def _rows(lines: Sequence[PageLine], name: str) -> list[PriceRow]:
    """Return the rows of a table where there is a heading, else models with prices below them."""
    headings = [line for line in lines if heading_of(line)]
    for line in headings:
        if any(map(is_foreign, line.texts)):
            raise InvalidSource(
                f"{name}, line {line.number}: prices in another currency; the list in rubles is"
                " needed"
            )
    return list(rows_of_table(lines) if headings else rows_of_stack(lines))


def _why_none(text: str) -> str:
    wanted = "expected lines with a model and its prices (ввод, вывод, кэш) in rubles"
    if not text.strip():
        return f"it is empty; {wanted}"
    if _LOGIN.search(text):
        return f"this looks like a page to log in on, not like a list of prices; {wanted}"
    return f"no list of prices; {wanted}"


def _price(row: PriceRow, name: str) -> PagePrice | None:
    """Return the price of a row, or None where input or output has none."""
    for text in row.cells.values():
        if is_foreign(text):
            raise InvalidSource(
                f"{name}, line {row.line}: {row.model} is priced in another currency"
                f" ({shown(text)[:20]}); the list in rubles is needed"
            )
    values = {
        column.value: price_of(text)
        for column, text in row.cells.items()
        if column is not Column.OTHER
    }
    told = {name: value for name, value in values.items() if value is not None}
    if not {Column.INPUT, Column.OUTPUT} <= told.keys():
        return None
    _check_sense(told, f"{name}, line {row.line}: {row.model}")
    return PagePrice(model=bare_model(row.model), **told)


def _check_sense(told: dict[str, Decimal], where: str) -> None:
    """Refuse prices that can't be: none, huge, or of columns that were confused."""
    for column, value in told.items():
        if not 0 < value <= _MOST or value.as_tuple().exponent < -6:  # type: ignore[operator]  # noqa: PLR2004  # finite; decimals of a table
            raise InvalidSource(f"{where}: {column} of {value} ₽ for a million tokens can't be")
    if told["output"] < told["input"]:
        raise InvalidSource(
            f"{where}: output ({told['output']} ₽) costs less than input ({told['input']} ₽):"
            " look at the columns"
        )
    if told.get("cached_input", told["input"]) > told["input"]:
        raise InvalidSource(
            f"{where}: cached input ({told['cached_input']} ₽) costs more than input"
            f" ({told['input']} ₽): look at the columns"
        )


def _check_units(text: str, name: str) -> None:
    if not _RUBLES.search(text):
        raise InvalidSource(f"{name}: nothing on it says that prices are in rubles (₽, руб.)")
    if _PER_THOUSAND.search(text) and not _PER_MILLION.search(text):
        raise InvalidSource(
            f"{name}: prices for a thousand tokens; the list for a million (1M) is needed"
        )
