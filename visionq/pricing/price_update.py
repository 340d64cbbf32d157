"""A price table brought up to date by a price list, and what that changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import tomlkit

from visionq.errors import InvalidSource
from visionq.pricing.prices import Price, PriceTable

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from visionq.pricing.price_page import PagePrice, PricePage

#: The first line of every table that is written here, by which it is known.
MARK: Final = "Written by `visionq prices update`."
_HEADER: Final = (
    MARK,
    "Rubles for a million tokens, VAT included; docs/money.md explains the fields. Compare a row",
    "with a bill, then set `confirmed = true` in it. The next update keeps rows, and no remarks.",
)
_SOURCE: Final = "proxyapi.ru/pricing/list, copied by the operator"
#: What the page may say, in the order in which it is shown.
_FIELDS: Final = ("input", "cached_input", "cache_write", "cache_write_12h", "output")
#: Prices that follow that of input where the page does not tell them.
_OF_CACHES: Final = ("cached_input", "cache_write", "cache_write_12h")
#: A price that has changed so many times over is of another unit, or of another currency.
_ABSURD: Final = 20
#: What stands below the prices of a row.
_LAST: Final = ("source", "date", "confirmed")
_LEAST: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one model's price, in rubles for a million tokens."""

    model: str
    field: str
    #: None: there was none.
    old: Decimal | None
    new: Decimal
    #: Whether the page does not tell it: it was changed as the price of input was.
    in_proportion: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """A new table, and what it changes."""

    table: PriceTable
    changes: tuple[Change, ...]
    new_models: tuple[str, ...]
    #: Models whose prices are those of the page.
    unchanged: tuple[str, ...]
    #: Models of the table that the page does not have; their rows stay as they are.
    absent: tuple[str, ...]


def updated(
    table: PriceTable, page: PricePage, name: str, *, today: dt.date, confirmed: bool
) -> Update:
    """Return a table with the page's prices in it; what the page does not tell stays.

    New rows, and those whose prices change, are `confirmed` as is said; a row that was confirmed
    stays so while its prices do. `name` is what errors call the page.

    Raises:
        InvalidSource: a price differs so much from the table's that it can't be meant.
    """
    rows = {price.model: price for price in table.prices}
    page = _named_as_here(page, rows)
    changes: list[Change] = []
    unchanged = []
    for told in page.prices:
        row = rows.get(told.model)
        found = _changes(told, row)
        _check_likely(found, name)
        if row is not None and not found:
            unchanged.append(told.model)
        changes += found
        stays = row is not None and row.confirmed and not found
        rows[told.model] = _row(told, row, found, today, confirmed=confirmed or stays)
    before, there = {price.model for price in table.prices}, {told.model for told in page.prices}
    return Update(
        table=table.model_copy(update={"prices": tuple(rows.values())}),
        changes=tuple(changes),
        new_models=tuple(told.model for told in page.prices if told.model not in before),
        unchanged=tuple(unchanged),
        absent=tuple(price.model for price in table.prices if price.model not in there),
    )


def _named_as_here(page: PricePage, known: Iterable[str]) -> PricePage:
    """Return the page with `google/gemini-…` for a `gemini-…` whose row has the vendor's name."""
    here = {name.partition("/")[2]: name for name in known if "/" in name}
    prices = (replace(told, model=here.get(told.model, told.model)) for told in page.prices)
    return replace(page, prices=tuple(prices))


def _changes(told: PagePrice, row: Price | None) -> list[Change]:
    says, was = told.told(), {name: getattr(row, name, None) for name in _FIELDS}
    found = []
    for name in _FIELDS:
        old, new = was[name], says.get(name)
        if new is not None and new != old:
            found.append(Change(told.model, name, old, new))
        elif new is None and old is not None and name in _OF_CACHES and row is not None:
            scaled = _rounded(old * told.input / row.input)
            if scaled != old:
                found.append(Change(told.model, name, old, scaled, in_proportion=True))
    return found


def _rounded(price: Decimal) -> Decimal:
    return max(price.quantize(_LEAST), _LEAST).normalize()


def _check_likely(found: list[Change], name: str) -> None:
    for one in found:
        if one.old is not None and not one.old / _ABSURD <= one.new <= one.old * _ABSURD:
            raise InvalidSource(
                f"{name}: {one.model}: {one.field} of {one.new:f} ₽ in place of {one.old:f} ₽: are"
                " these rubles for a million tokens? If they are, enter them in the table by hand"
            )


def _row(
    told: PagePrice, row: Price | None, found: list[Change], today: dt.date, *, confirmed: bool
) -> Price:
    kept = row.model_dump() if row is not None else {"model": told.model}
    news = {one.field: one.new for one in found}
    return Price(**{**kept, **news, "source": _SOURCE, "date": today, "confirmed": confirmed})


def as_toml(table: PriceTable) -> str:
    """Return a table as the text of a file."""
    document = tomlkit.document()
    for line in _HEADER:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    document.add("batch_factor", _value(table.batch_factor))
    document.add(tomlkit.nl())
    rows = tomlkit.aot()
    for price in table.prices:
        row = tomlkit.table()
        fields = price.model_dump(exclude_defaults=True)
        for name in sorted(fields, key=_LAST.__contains__):
            row.add(name, _value(fields[name]))
        rows.append(row)
    document.add("price", rows)
    return tomlkit.dumps(document)


def _value(value: Any) -> Any:  # noqa: ANN401  # what TOML knows
    """Return a value as TOML has it: decimals as strings, parts of a row in one line."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        for name, part in value.items():
            inline[name] = _value(part)
        return inline
    return value
