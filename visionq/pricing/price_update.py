"""Update a price table from a price list, and report the changes."""

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

#: The first line of every written table, by which it is recognised.
MARK: Final = "Written by `visionq prices update`."
_HEADER: Final = (
    MARK,
    "Rubles for a million tokens, VAT included; docs/money.md explains the fields. Compare a row",
    "with a bill, then set `confirmed = true` in it. The next update keeps rows but not comments.",
)
_SOURCE: Final = "proxyapi.ru/pricing/list, copied by the operator"
#: Fields that the page may have, in the order of display.
_FIELDS: Final = ("input", "cached_input", "cache_write", "cache_write_12h", "output")
#: Prices that change in proportion to input if the page does not list them.
_OF_CACHES: Final = ("cached_input", "cache_write", "cache_write_12h")
#: A price that changes by a larger factor is in another unit or currency.
_ABSURD: Final = 20
#: Fields below the prices of a row.
_LAST: Final = ("source", "date", "confirmed")
_LEAST: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one model's price, in rubles for a million tokens."""

    model: str
    field: str
    #: None: a new field.
    old: Decimal | None
    new: Decimal
    #: Whether the page does not list it, so that it changed in proportion to input.
    in_proportion: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """A new table and its changes."""

    table: PriceTable
    changes: tuple[Change, ...]
    new_models: tuple[str, ...]
    #: Models whose prices already match the page.
    unchanged: tuple[str, ...]
    #: Models of the table that are not on the page; their rows are kept.
    absent: tuple[str, ...]


def updated(
    table: PriceTable, page: PricePage, name: str, *, today: dt.date, confirmed: bool
) -> Update:
    """Return the table with the page's prices; other rows and fields are kept.

    `confirmed` applies to new rows and rows whose prices change; a confirmed row whose prices stay
    remains confirmed. Errors call the page `name`.

    Raises:
        InvalidSource: a price differs from the table's by more than a factor of 20.
    """
    rows = {price.model: price for price in table.prices}
    page = _named_as_here(page, rows)
    changes: list[Change] = []
    unchanged = []
    for listed in page.prices:
        row = rows.get(listed.model)
        found = _changes(listed, row)
        _check_likely(found, name)
        if row is not None and not found:
            unchanged.append(listed.model)
        changes += found
        stays = row is not None and row.confirmed and not found
        rows[listed.model] = _row(listed, row, found, today, confirmed=confirmed or stays)
    before, there = (
        {price.model for price in table.prices},
        {listed.model for listed in page.prices},
    )
    return Update(
        table=table.model_copy(update={"prices": tuple(rows.values())}),
        changes=tuple(changes),
        new_models=tuple(listed.model for listed in page.prices if listed.model not in before),
        unchanged=tuple(unchanged),
        absent=tuple(price.model for price in table.prices if price.model not in there),
    )


def _named_as_here(page: PricePage, known: Iterable[str]) -> PricePage:
    """Return the page with `google/gemini-…` for a `gemini-…` whose row has the vendor's name."""
    here = {name.partition("/")[2]: name for name in known if "/" in name}
    prices = (replace(listed, model=here.get(listed.model, listed.model)) for listed in page.prices)
    return replace(page, prices=tuple(prices))


def _changes(listed: PagePrice, row: Price | None) -> list[Change]:
    says, was = listed.prices(), {name: getattr(row, name, None) for name in _FIELDS}
    found = []
    for name in _FIELDS:
        old, new = was[name], says.get(name)
        if new is not None and new != old:
            found.append(Change(listed.model, name, old, new))
        elif new is None and old is not None and name in _OF_CACHES and row is not None:
            scaled = _rounded(old * listed.input / row.input)
            if scaled != old:
                found.append(Change(listed.model, name, old, scaled, in_proportion=True))
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
    listed: PagePrice, row: Price | None, found: list[Change], today: dt.date, *, confirmed: bool
) -> Price:
    kept = row.model_dump() if row is not None else {"model": listed.model}
    news = {one.field: one.new for one in found}
    return Price(**{**kept, **news, "source": _SOURCE, "date": today, "confirmed": confirmed})


def as_toml(table: PriceTable) -> str:
    """Return the table as TOML."""
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


def _value(value: Any) -> Any:  # noqa: ANN401  # any TOML value
    """Convert a value to TOML: decimals to strings, dicts to inline tables."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        for name, part in value.items():
            inline[name] = _value(part)
        return inline
    return value
