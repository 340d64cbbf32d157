"""What is read of a price list that someone copied, and what is refused by name."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.price_pages import FORMS, ROWS, UNIT, Rows, as_columns, as_html, as_tabs
from visionq.errors import InvalidSource
from visionq.pricing.price_page import PagePrice, PricePage, read_price_page

if TYPE_CHECKING:
    from collections.abc import Callable


def read(text: str | bytes) -> PricePage:
    return read_price_page(text if isinstance(text, bytes) else text.encode(), "page")


def wanted(rows: Rows) -> list[PagePrice]:
    def number(price: str) -> Decimal:
        return Decimal(price.replace("\u202f", "").replace(",", "."))

    return [
        PagePrice(model, number(into), number(out), number(cached) if cached else None)
        for model, (into, cached, out) in rows.items()
    ]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: Callable[[Rows], str]) -> None:
    """The same list says the same as table, as columns, one below another, and as HTML."""
    assert list(read(form(ROWS)).prices) == wanted(ROWS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str) -> None:
    """Text as Windows and others save it."""
    assert list(read(as_tabs(ROWS).encode(encoding)).prices) == wanted(ROWS)


def rubles(most: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(
        min_value=Decimal("0.01"), max_value=most, places=2, allow_nan=False, allow_infinity=False
    )


def written(price: Decimal) -> str:
    """Return a price as Russian pages write it: `1 290,50`, the blank a narrow one."""
    return f"{price:,.2f}".replace(",", "\u202f").replace(".", ",")


@st.composite
def lists(draw: st.DrawFn) -> Rows:
    rows: Rows = {}
    names = st.from_regex(r"\A(gpt|claude|gemini)-[0-9](\.[0-9])?(-[a-z]{2,8})?\Z")
    for name in draw(st.lists(names, min_size=1, max_size=8, unique=True)):
        into = draw(rubles(5000))
        cached = draw(st.none() | st.just(into / 10).filter(lambda price: price >= 1))
        out = into + draw(rubles(9000))
        rows[name] = (written(into), written(cached) if cached else None, written(out))
    return rows


@given(lists(), st.sampled_from(FORMS))
def test_any_list_in_any_form(rows: Rows, form: Callable[[Rows], str]) -> None:
    """For any models and prices: each price stays in its column."""
    assert list(read(form(rows)).prices) == wanted(rows)


@given(st.binary(max_size=400))
def test_no_bytes_break_it(content: bytes) -> None:
    """A page that is no list is refused, and nothing else happens."""
    with pytest.raises(InvalidSource, match="page"):
        read(content)


MARKUP = ("<table>", "<tr>", "<td>", "</td>", "</tr>", "</table>", "<div>", "<![", "<!doctype")
BREAKS = ("<script>", "&#x110000;", "\t", "  ", "\n", "|", ":", "\u202f", "\x00")
WORDS = ("Модель", "Ввод", "Вывод", "Кэш", "Запись в кэш", "gpt-6-luna", "o3", "1M", "₽", "$", "—")
PIECES = st.sampled_from([*MARKUP, *BREAKS, *WORDS, "25,8 ₽", "129 ₽"])


@given(st.lists(PIECES | st.text(max_size=5), max_size=60).map("".join))
def test_no_jumble_breaks_it(text: str) -> None:
    """The pieces of lists in any order give prices that can be, or one line that says why not."""
    prices: tuple[PagePrice, ...] = ()
    with suppress(InvalidSource):
        prices = read(text).prices
    assert all(0 < price.input <= price.output <= 1_000_000 for price in prices)


def test_columns_are_known_by_their_names() -> None:
    """Lengths of contexts, sound and batches are passed over; writes have columns of their own."""
    page = read(
        "Модель\tКонтекст\tЗапрос, ₽ за 1M\tКэшированный ввод\tЗапись в кэш\tЗапись в кэш (12 ч)"
        "\tОтвет\tBatch ввод\tАудио вывод\n"
        "gpt-6-luna\t400\t25,8\t2,58\t32,25\t40\t129\t12,9\t9000\n"
        "GPT-6.1 Terra\t1M\t258\t\t\t\t1290\t129\t\n"
        "openai/gpt-5.5\t1M\t1290\t—\t—\t—\t7740\t\t\n"
        "gpt-5.6-sol новая\t1M\t1290\t—\t—\t—\t7740\t\t\n"
    )
    assert page.prices == (
        PagePrice("gpt-6-luna", *map(Decimal, ("25.8", "129", "2.58", "32.25", "40"))),
        PagePrice("gpt-6.1-terra", Decimal(258), Decimal(1290)),
        PagePrice("gpt-5.5", Decimal(1290), Decimal(7740)),
        PagePrice("gpt-5.6-sol", Decimal(1290), Decimal(7740)),
    )


def test_the_dearer_prices_of_long_prompts_are_passed_over() -> None:
    """In any column: they are no prices of an ordinary call."""
    page = read(
        "Модель\tВвод свыше 272K\tВвод\tВывод (>272K)\tВывод, ₽ за 1M\n"
        "gpt-6-luna\t51,6\t25,8\t193,5\t129\n"
    )
    assert page.prices == (PagePrice("gpt-6-luna", Decimal("25.8"), Decimal(129)),)


def test_what_has_no_price_of_tokens_is_named() -> None:
    """A model of sound or pictures has no two prices: passed over, and said."""
    page = read(as_tabs(ROWS) + "\nwhisper-1\t1,5 ₽\nDall·E\t4 ₽\ntts-1\t\t\t\n")
    assert list(page.prices) == wanted(ROWS)
    assert page.passed_over == ("whisper-1", "Dall·E", "tts-1")


def test_what_is_shown_of_a_page_is_short_and_printable() -> None:
    """Its text goes to a terminal."""
    page = read(as_tabs(ROWS) + f"\n\x1b[2JSora {'x' * 500}\t4 ₽\n")
    (name,) = page.passed_over
    assert name.startswith("[2JSora xxx")
    assert name.isprintable()
    assert len(name) < 80


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        (" \n\n", "it is empty"),
        ("Hello", "not a list of prices"),
        ("<html><body><h1>404</h1></body></html>", "not a list of prices"),
        ('{"detail": "Not Found"}', "not a list of prices"),
        ("<html><form>Войти <input type='password'></form></html>", "a login page"),
        ("<html><body>Sign in to your account</body></html>", "a login page"),
        (as_tabs(ROWS).replace(" ₽", " $").replace("₽", "$"), "gpt-6-luna is priced in another"),
        (as_html(ROWS).replace("₽", "€"), "gpt-6-luna is priced in another currency"),
        (as_columns(ROWS).replace("Ввод", "Ввод, $"), "prices in another currency"),
        (as_columns(ROWS).replace("₽", "единицах"), "it does not say that prices are in rubles"),
        (as_columns(ROWS).replace("1 млн", "1000"), "prices for a thousand tokens"),
        (as_tabs(ROWS) + "\n" + as_tabs(ROWS).replace("129", "64,5"), "is listed twice"),
        (as_tabs(ROWS, ("Модель", "Вывод", "Кэш", "Ввод")), "costs less than input"),
        (as_tabs(ROWS, ("Модель", "Кэш", "Ввод", "Вывод")), "costs more than input"),
        (as_tabs(ROWS).replace("129", "9999999"), "output of 9999999 ₽ for a million tokens"),
        (as_tabs(ROWS).replace("129", "25,80000001"), "for a million tokens makes no sense"),
        (as_tabs(ROWS).replace("25,8", "0"), "input of 0 ₽ for a million tokens makes no sense"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        ("Цены: ₽".encode("cp1251", "replace"), "not UTF-8 text"),
        ("<table><![x[", "broken HTML"),
        (b"x" * 10_000_001, "more than 10,000,000 bytes"),
    ],
)
def test_a_wrong_page_is_refused_by_name(text: str | bytes, says: str) -> None:
    """One line says what is wrong with the page."""
    with pytest.raises(InvalidSource) as raised:
        read(text)
    assert raised.value.message.startswith("page")
    assert says in raised.value.message
    assert "\n" not in raised.value.message


def test_the_same_list_twice() -> None:
    """Equal rows are no contradiction."""
    assert list(read(as_tabs(ROWS) + "\n" + as_tabs(ROWS)).prices) == wanted(ROWS)


def test_long_pages_are_read_in_bounded_time() -> None:
    """A page of a million odd characters is no trap."""
    for text in (
        "9 " * 500_000,
        "a-" * 500_000,
        "1-" * 500_000,
        "<" * 500_000,
        "gpt-1 \t" * 100_000,
    ):
        with pytest.raises(InvalidSource):
            read(UNIT + "\nМодель\tВвод\tВывод\n" + text)
