from __future__ import annotations

from math import isclose
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.ledger.usage import (
    ENOUGH,
    TokenCalibration,
    calibrate,
    likely_input,
    most_texts,
    reserved_input,
)
from visionq.pricing.vision import forecast_text_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

#: (forecast of the pictures, forecast of the texts, input counted, cached, output)
Call = tuple[int, int, int, int, int]
HALF_LIFE = 100


def sums_of(calls: Iterable[Call]) -> dict[str, float]:
    """Add up as the script does."""
    sums: dict[str, float] = {"answers": 0}
    for p, t, a, cached, output in calls:
        terms = {
            "weight": 1, "p": p, "t": t, "a": a, "pp": p * p, "pt": p * t, "tt": t * t,
            "pa": p * a, "ta": t * a, "aa": a * a, "cached": cached, "output": output,
            "oo": output * output,
        }  # fmt: skip
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) * 0.5 ** (1 / HALF_LIFE) + term
        sums["answers"] += 1
    return sums


def learned(calls: Iterable[Call]) -> TokenCalibration:
    calibration = calibrate(sums_of(calls))
    assert calibration is not None
    return calibration


def test_a_few_answers_teach_nothing() -> None:
    """Before twenty answers there is no calibration, and from the twentieth on there is."""
    call = (100, 50, 150, 0, 10)
    assert calibrate({}) is None
    assert calibrate(sums_of([call] * (ENOUGH - 1))) is None
    assert calibrate(sums_of([call] * ENOUGH)) is not None


@given(
    pictures=st.floats(0.5, 2),
    texts=st.floats(0.5, 2),
    sizes=st.lists(
        st.tuples(st.integers(85, 2000), st.integers(20, 600)), min_size=30, max_size=60
    ),
)
def test_what_the_provider_counts_is_found_again(
    pictures: float, texts: float, sizes: list[tuple[int, int]]
) -> None:
    """For any two factors, the forecast of the same mix comes within a percent."""
    calls = [(p, t, round(pictures * p + texts * t), 0, 10) for p, t in sizes]
    found = learned(calls)
    forecast = sum(found.input_tokens(p, t) for p, t, *_ in calls)
    # Recent answers weigh more: one mix is not quite the other where the fit is not exact.
    assert isclose(forecast, sum(a for _, _, a, *_ in calls), rel_tol=0.01)


def test_pictures_and_texts_are_told_apart() -> None:
    """Learned from small pictures alone, large ones are forecast all the same."""
    random = Random(7)
    small = [(random.randint(85, 400), random.randint(30, 300)) for _ in range(100)]
    found = learned([(p, t, round(1.31 * p + 0.8 * t), 0, 10) for p, t in small])
    assert found.pictures == pytest.approx(1.31, abs=0.01)
    assert found.texts == pytest.approx(0.8, abs=0.01)
    assert found.input_tokens(5000, 40) == pytest.approx(1.31 * 5000 + 0.8 * 40, rel=0.01)


@pytest.mark.parametrize("counted", [(1.0, 0.75), (1.33, 0.8), (0.7, 1.0)])
@pytest.mark.parametrize("quoted", [(2300, 40), (85, 2000)], ids=["pictures", "texts"])
def test_another_mix_is_quoted_within_two_percent(
    counted: tuple[float, float], quoted: tuple[int, int]
) -> None:
    """Counts that scatter by 2 % forecast jobs of a mix never seen within 2 %."""
    random, (pictures, texts) = Random(3), counted
    sizes = [(random.choice([255, 765, 1105]), random.randint(30, 400)) for _ in range(200)]
    calls = [
        (p, t, round((pictures * p + texts * t) * random.gauss(1, 0.02)), 0, 10) for p, t in sizes
    ]
    billed = pictures * quoted[0] + texts * quoted[1]
    assert learned(calls).input_tokens(*quoted) == pytest.approx(billed, rel=0.02)


def test_one_question_about_equal_pictures_gives_one_factor() -> None:
    """If nothing tells pictures from texts, both have the factor of the whole."""
    found = learned([(255, 45, 393, 0, 10)] * 50)
    assert found.factor == pytest.approx(1.31)
    assert found.pictures == pytest.approx(1.31)
    assert found.texts == pytest.approx(1.31)
    assert found.spread < 0.001
    assert found.output == pytest.approx(10)


def test_a_change_of_the_counting_is_followed() -> None:
    """Three hundred answers after a change nine tenths of it have been taken up."""
    before, after = [(300, 20, 320, 0, 10)] * 1000, [(300, 20, 480, 0, 10)] * 300
    assert learned(before).factor == pytest.approx(1)
    assert learned([*before, *after]).factor == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize(
    ("call", "drifted"),
    [
        ((300, 20, 320, 0, 1), False),
        ((300, 20, 380, 0, 1), False),
        ((300, 20, 390, 0, 1), True),
        ((300, 20, 250, 0, 1), True),
        ((300, 300, 400, 0, 1), False),
        ((300, 300, 730, 0, 1), True),
    ],
)
def test_reality_that_leaves_the_table_is_noticed(call: Call, drifted: bool) -> None:
    """More than 20 % either way; texts are forecast high, so fewer tokens of them are no news."""
    assert learned([call] * 30).has_drifted is drifted


def test_a_call_is_paced_with_a_margin() -> None:
    """Half more while nothing is known, then 5 % over what is counted, never under the table."""
    assert likely_input(None, 1000, 100) == 1650
    assert likely_input(learned([(300, 20, 320, 0, 1)] * 30), 1000, 100) in range(1155, 1157)
    assert likely_input(learned([(300, 20, 160, 0, 1)] * 30), 1000, 100) == 1155
    assert likely_input(learned([(300, 20, 640, 0, 1)] * 30), 1000, 100) in range(2310, 2312)


def test_the_reserve_has_a_margin_for_pictures_and_all_of_the_texts() -> None:
    """Pictures as above; texts at their most, regardless of other texts."""
    assert reserved_input(None, 1000, 100) == 1600
    assert reserved_input(learned([(300, 20, 320, 0, 1)] * 30), 1000, 100) in range(1150, 1152)
    assert reserved_input(learned([(300, 20, 160, 0, 1)] * 30), 1000, 100) == 1150
    assert reserved_input(learned([(300, 20, 640, 0, 1)] * 30), 1000, 100) in range(2200, 2202)


def test_texts_are_reserved_at_their_bytes_until_they_were_counted() -> None:
    """Bytes bound the tokens of any script; the same texts, once counted, bound them as well."""
    rare = "\U00012000" * 500  # cuneiform, of which tokenizers make up to four tokens a sign
    sent, forecast = len(rare.encode()), forecast_text_tokens(rare)
    assert forecast < sent == 2000
    assert most_texts(sent, forecast, None) == 2000
    assert most_texts(sent, forecast, 1900) == 1900
    assert most_texts(sent, forecast, 5000) == 2000
    assert most_texts(sent, forecast, 3) == forecast  # no such count is believed
