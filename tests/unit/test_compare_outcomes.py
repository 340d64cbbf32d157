"""What a comparison says about answers, its page included."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from producer.compare.answer_fields import FieldKind, FieldRule
from producer.compare.comparison_document import VariantComparison
from producer.compare.comparison_page import page_of
from producer.compare.comparison_rendering import draw_comparison
from producer.compare.limits_of_samples import limits_of
from producer.compare.outcomes import (
    GOLDEN,
    Answered,
    ComparisonTables,
    compared_rows,
    cost_of,
    pair_outcome,
    right_differences,
    rightness,
    variant_outcome,
)
from producer.compare.stratified_sample import Drawn, HeldRows
from producer.compare.variants import Variant
from producer.prompts import Prompt
from producer.run.plan import Question
from producer.sources import Row
from visionq.cli.screen import people_console
from visionq.pricing.model_options import load_option_table
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules

RULES = {
    "colour": FieldRule(FieldKind.LABEL),
    "price": FieldRule(FieldKind.NUMBER),
    "title": FieldRule(FieldKind.TEXT),
}
SCHEMA = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}
N = 20
TABLES = ComparisonTables(load_prices(None), load_rules(), load_option_table(None), "least")


def row(number: int, data: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"p{number}", "file": f"{number}.png", "data": data, "text": "", "error": None,
        "cost_rub": "0.02", "cached": False, "model": "gpt-6-luna", "service_tier": None,
        "input_tokens": 100, "cached_tokens": 0, "cache_write_tokens": 0, "output_tokens": 20,
        "reasoning_tokens": 0, "latency_s": 0.5 + number / 100, **fields,
    }  # fmt: skip


def card(colour: str, price: float = 5, title: str = "A lamp") -> dict[str, Any]:
    return {"colour": colour, "price": price, "title": title}


def answered(letter: str, rows: list[dict[str, Any]]) -> Answered:
    options = {"model": "gpt-6-luna", "answer_schema": SCHEMA}
    variant = Variant(letter, Question(Prompt("What?"), options), f"variant {letter}")
    return Answered(variant, Path(f"{letter}.jsonl"), rows)


GOLDEN_ROWS = {f"p{number}": card("red" if number % 2 else "blue") for number in range(N)}
GOOD = answered("A", [row(number, GOLDEN_ROWS[f"p{number}"]) for number in range(N)])
BAD = answered(
    "B",
    [
        row(0, None, error={"code": "invalid_output", "message": "no"}, latency_s=None),
        *(row(number, card("red", 6)) for number in range(1, N)),
    ],
)
DRAWN = Drawn(
    HeldRows("goods.csv", [Row(n, f"p{n}", (f"{n}.png",)) for n in range(N)], ""), rows=1000
)


def test_cost_speed_and_failures_of_a_variant() -> None:
    """They are means of its rows, and the whole source costs as many times as it has rows."""
    found = variant_outcome(BAD, DRAWN, TABLES, rightness(GOLDEN_ROWS, BAD, RULES))
    assert found.failed == {"invalid_output": 1}
    assert found.misfits is not None
    assert found.misfits.value == found.failures.value == pytest.approx(0.05)
    assert found.row_rub.value == pytest.approx(0.02)
    assert found.source_rub.value == pytest.approx(20)
    assert found.spent_rub == Decimal("0.4")
    assert found.latency_median_s == pytest.approx(0.6)
    assert found.right is not None
    assert (found.right.value, found.right.n) == (0, N)


def test_one_call_has_a_latency() -> None:
    """Median and 95th percentile are that call's."""
    found = variant_outcome(answered("A", [row(0, card("red"))]), DRAWN, TABLES, None)
    assert (found.latency_median_s, found.latency_p95_s) == (0.5, 0.5)


def test_what_changes_with_the_model_is_shown() -> None:
    """Variants show what `auto` means, the effort, the price and the end."""
    old, new = (
        TABLES.of(Variant("A", Question(Prompt("?"), {"model": model}), ""))
        for model in ("gpt-4o-mini", "gpt-6-luna")
    )
    assert (old["detail"], new["detail"]) == ("high", "original")
    assert (str(old["ends"]), new["ends"]) == ("2027-01-14", None)
    assert (old["effort"], new["effort"] is None) == (None, False)
    assert old["input_rub"] != new["input_rub"]


def test_a_stored_answer_counts_as_if_it_were_paid() -> None:
    """Else a second comparison would show that everything is free."""
    prices = load_prices(None)
    stored = row(1, card("red"), cached=True, cost_rub="0")
    price = prices.for_model("gpt-6-luna")
    assert price is not None
    expected = (price.input * 100 + price.output * 20) / 1_000_000
    assert cost_of(stored, prices) == pytest.approx(expected, rel=Decimal("0.01"))
    assert cost_of(stored | {"service_tier": "batch"}, prices) > 0
    assert cost_of(stored | {"model": "unknown"}, prices) == 0


def test_agreement_by_field() -> None:
    """Each field by its kind, over the rows that both have answered."""
    pair = pair_outcome((GOLDEN, GOLDEN_ROWS), ("B", BAD.answers), RULES)
    colour, price, title = pair.fields
    assert (colour.agreement.n, price.agreement.value, title.agreement.value) == (N - 1, 0, 1)
    assert colour.agreement.value == pytest.approx(10 / 19)
    assert colour.confusion == {"blue": {"red": 9}, "red": {"red": 10}}
    assert colour.labels is not None
    red = next(one for one in colour.labels if one.label == "red")
    assert (red.recall.value, red.recall.n) == (1, 10)
    assert red.precision.value == pytest.approx(10 / 19)
    assert title.f1 is not None
    assert title.f1.value == 1
    assert pair.agreement.value == 0


def test_variants_are_distinguished_or_not() -> None:
    """A difference is certain where its interval leaves out zero."""
    right = {one.variant.letter: rightness(GOLDEN_ROWS, one, RULES) for one in (GOOD, BAD)}
    (found,) = right_differences(right)
    assert (found.first, found.second, found.is_certain) == ("A", "B", True)
    assert found.difference.value == -1
    (same,) = right_differences({"A": right["A"], "B": right["A"]})
    assert not same.is_certain
    lines = list(limits_of(DRAWN, [], [], [same], has_golden=True))
    assert any("A and B can't be distinguished" in line for line in lines)


def test_what_a_sample_can_not_tell() -> None:
    """Its width, failures not seen, labels too rare, and that likeness is not rightness."""
    pair = pair_outcome(("A", GOOD.answers), ("B", BAD.answers), RULES)
    variants = [variant_outcome(one, DRAWN, TABLES, None) for one in (GOOD, BAD)]
    lines = "\n".join(limits_of(DRAWN, variants, [pair], [], has_golden=False))
    assert "20 pictures: a share near one half is known to ±20 points" in lines
    assert "no failure among 20 (A): of all pictures up to 16.1% may fail" in lines
    assert "not which are right" in lines
    assert "field colour: too few rows of blue (9)" in lines


def found(rows: list[Answered]) -> VariantComparison:
    pair = pair_outcome(("A", rows[0].answers), ("B", rows[1].answers), RULES)
    return VariantComparison(
        source="goods.csv", rows=1000, sample=N, seed=0, golden=None, strata={},
        variants=tuple(variant_outcome(one, DRAWN, TABLES, None) for one in rows),
        pairs=(pair,), limits=("few",), out="compare.jsonl", page="compare.html",
    )  # fmt: skip


def test_rows_that_differ_come_first() -> None:
    """Those without an answer before those with the most fields that differ."""
    rows = list(compared_rows([GOOD, BAD], GOLDEN_ROWS, RULES, "compare-1"))
    assert (rows[0].id, rows[0].errors) == ("p0", {"B": "invalid_output"})
    assert rows[1].differ == ("colour", "price")
    assert rows[1].deviating == {"A": (), "B": ("colour", "price")}
    assert rows[-1].differ == ("price",)
    assert rows[-1].golden is not None
    assert rows[0].model_dump_json().startswith('{"comparison":')


def test_what_models_write_does_nothing_on_the_page() -> None:
    """Markup, scripts and links in answers are text, and nothing is loaded."""
    evil = "<script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>"
    other = answered("B", [row(number, card("red", 6, evil)) for number in range(N)])
    rows = list(compared_rows([GOOD, other], None, RULES, "compare-1"))
    page = page_of(found([GOOD, other]), rows, DRAWN.source.held)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src 'none'" in page
    assert "href" not in page


def test_a_file_that_starts_another_program_has_no_thumbnail(tmp_path: Path) -> None:
    """Pillow gives EPS to Ghostscript under any name: what no model takes is not decoded."""
    for form, count in (("EPS", 0), ("PPM", 0), ("PNG", 1)):
        Image.new("RGB", (8, 8)).save(tmp_path / "0.png", form)
        source = Row(0, "p0", (str(tmp_path / "0.png"),))
        rows = list(compared_rows([GOOD, BAD], None, RULES, "compare-1"))
        assert page_of(found([GOOD, BAD]), rows, [source]).count("<img") == count


def test_what_models_write_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences in answers are shown, not sent."""
    other = answered("B", [row(n, card("red", 6, "\x1b]0;evil\x1b[2J")) for n in range(N)])
    rows = list(compared_rows([GOOD, other], None, RULES, "compare-1"))
    people_console().print(draw_comparison(found([GOOD, other]), rows))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b]0;evil" in shown


def test_the_terminal_shows_figures_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A column for each variant, a line for each field, the rows beside each other."""
    rows = list(compared_rows([GOOD, BAD], None, RULES, "compare-1"))
    people_console().print(draw_comparison(found([GOOD, BAD]), rows))
    shown = capsys.readouterr().out
    for words in ("₽ for all 1,000", "misfits of the schema", "B and A", "53% (32 to 73)", "! few"):
        assert words in shown
    assert "p0" in shown
    assert "invalid_output" in shown
