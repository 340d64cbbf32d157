"""Read the prices of models from a copied price list."""

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

#: Bytes of the longest list that is read.
MOST_BYTES: Final = 10_000_000
#: Rubles for a million tokens: the limit of a price table.
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
    """Prices of one model in rubles for a million tokens; None if the page has none."""

    model: str
    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_12h: Decimal | None = None

    def prices(self) -> dict[str, Decimal]:
        """Return the prices that the page has, by field."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "model"}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class PricePage:
    """All prices of a page."""

    prices: tuple[PagePrice, ...]
    #: Models without a price of input or output.
    passed_over: tuple[str, ...]


def read_price_page(content: bytes, name: str) -> PricePage:
    """Return the prices of a page; errors call it `name`.

    Raises:
        InvalidSource: not a list of prices in rubles for a million tokens, or a row makes no sense;
            the message names it.
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
                f"{name}, line {row.line}: {price.model} is listed twice with different prices:"
                " copy the ordinary prices only, without those of batches"
            )
    if not prices:
        raise InvalidSource(f"{name}: {_why_none(text)}")
    _check_units(text, name)
    return PricePage(tuple(prices.values()), tuple(dict.fromkeys(passed_over)))


def _text(content: bytes, name: str) -> str:
    if len(content) > MOST_BYTES:
        raise InvalidSource(
            f"{name}: more than {MOST_BYTES:,} bytes: too long for a list of prices"
        )
    is_wide = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidSource(f"{name}: not UTF-8 text; save the page as UTF-8") from None
    try:
        return cleaned(lines_of_markup(text) if is_markup(text) else text)
    except ValueError as error:
        raise InvalidSource(f"{name}: broken HTML ({error}); save the page again") from None


def _rows(lines: Sequence[PageLine], name: str) -> list[PriceRow]:
    """Return the rows of a table, or of a list if there is no heading."""
    headings = [line for line in lines if heading_of(line)]
    for line in headings:
        if any(map(is_foreign, line.texts)):
            raise InvalidSource(
                f"{name}, line {line.number}: prices in another currency; use the list in rubles"
            )
    return list(rows_of_table(lines) if headings else rows_of_stack(lines))


def _why_none(text: str) -> str:
    wanted = "expected lines with a model and its prices (ввод, вывод, кэш) in rubles"
    if not text.strip():
        return f"it is empty; {wanted}"
    if _LOGIN.search(text):
        return f"this looks like a login page, not a list of prices; {wanted}"
    return f"not a list of prices; {wanted}"


def _price(row: PriceRow, name: str) -> PagePrice | None:
    """Return the prices of a row, or None without those of input and output."""
    for text in row.cells.values():
        if is_foreign(text):
            raise InvalidSource(
                f"{name}, line {row.line}: {row.model} is priced in another currency"
                f" ({shown(text)[:20]}); use the list in rubles"
            )
    values = {
        column.value: price_of(text)
        for column, text in row.cells.items()
        if column is not Column.OTHER
    }
    listed = {name: value for name, value in values.items() if value is not None}
    if not {Column.INPUT, Column.OUTPUT} <= listed.keys():
        return None
    _check_sense(listed, f"{name}, line {row.line}: {row.model}")
    return PagePrice(model=bare_model(row.model), **listed)


def _check_sense(listed: dict[str, Decimal], where: str) -> None:
    """Refuse prices that are zero, huge, or from the wrong column."""
    for column, value in listed.items():
        if not 0 < value <= _MOST or value.as_tuple().exponent < -6:  # type: ignore[operator]  # noqa: PLR2004  # finite; decimals of a table
            raise InvalidSource(
                f"{where}: {column} of {value} ₽ for a million tokens makes no sense"
            )
    if listed["output"] < listed["input"]:
        raise InvalidSource(
            f"{where}: output ({listed['output']} ₽) costs less than input ({listed['input']} ₽):"
            " check the columns"
        )
    if listed.get("cached_input", listed["input"]) > listed["input"]:
        raise InvalidSource(
            f"{where}: cached input ({listed['cached_input']} ₽) costs more than input"
            f" ({listed['input']} ₽): check the columns"
        )


def _check_units(text: str, name: str) -> None:
    if not _RUBLES.search(text):
        raise InvalidSource(f"{name}: it does not say that prices are in rubles (₽, руб.)")
    if _PER_THOUSAND.search(text) and not _PER_MILLION.search(text):
        raise InvalidSource(
            f"{name}: prices for a thousand tokens; use the list for a million (1M)"
        )
