"""An operator's own prices: taken whole, or refused with the place that is wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from visionq.pricing.prices import load_prices
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
batch_factor = "0.5"

[[price]]
model = "gpt-4o-mini"
input = "39.5"
output = 155
source = "our contract"
date = 2026-11-01
confirmed = true

[[price]]
model = "openai/gpt-5.4-mini"
input = "194"
cached_input = "19.4"
output = "1161"
source = "our contract"
date = 2026-11-01
confirmed = true
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "our-prices.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_own_prices_replace_the_table(tmp_path: Path) -> None:
    """An own file is the whole table: its rows count, the built-in ones do not."""
    table = load_prices(write(tmp_path, TEXT))
    mini = table.for_model("gpt-4o-mini")
    newer = table.for_model("gpt-5.4-mini-2026-03-17")
    assert mini is not None
    assert newer is not None
    assert (mini.input, mini.output, mini.confirmed) == (Decimal("39.5"), Decimal(155), True)
    assert newer.cached == Decimal("19.4")
    assert table.for_model("gpt-4o") is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"39.5"',
            "39.5",
            ', line 5: price 1 (gpt-4o-mini): input: write the number in quotes: "3',
        ),
        ('"39.5"', '"-1"', ", line 5: price 1 (gpt-4o-mini): input: must be more than"),
        ('"39.5"', '"0"', ", line 5: price 1 (gpt-4o-mini): input: must be more than"),
        ('"39.5"', '"NaN"', ", line 5: price 1 (gpt-4o-mini): input: must be a finite"),
        ('"39.5"', '"39,5"', ", line 5: price 1 (gpt-4o-mini): input: must be a number"),
        ('"19.4"', '""', ", line 14: price 2 (openai/gpt-5.4-mini): cached_input: must"),
        ('output = "1161"', "", ", line 11: price 2 (openai/gpt-5.4-mini): output: missing"),
        ("output = 155", "output = 155\nvat = 1", ", line 7: price 1 (gpt-4o-mini): vat: there"),
        ("confirmed = true", 'confirmed = "?"', ", line 9: price 1 (gpt-4o-mini): confirmed: mu"),
        ('model = "gpt-4o-mini"', "", ", line 3: price 1: model: missing"),
        ("openai/gpt-5.4-mini", "openai/gpt-4o-mini", ": gpt-4o-mini is listed twice"),
        ('batch_factor = "0.5"', 'batch_factor = "50"', ", line 1: batch_factor: must be at"),
        ('batch_factor = "0.5"', "", ": batch_factor: missing"),
        (
            '"19.4"',
            '"19.4"\ncache_write = 1.5',
            ", line 15: price 2 (openai/gpt-5.4-mini): cache_w",
        ),
        (
            "output = 155",
            'output = 155\nservice_tiers = { flex = "0" }',
            ", line 7: price 1 (gpt-4o-mini): service_tiers.flex: must be more",
        ),
        (
            "output = 155",
            'output = 155\nlong_prompt = { above = 1000, input = "0.5", output = "1" }',
            ", line 7: price 1 (gpt-4o-mini): long_prompt.input: must be at",
        ),
        ("[[price]]", "[[prices]]", ": price: missing"),
        ("[[price]]\nmodel", "[[price]\nmodel", ": Expected ']]'"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A wrong file is refused whole, naming file, line, row and field."""
    occurrences = -1 if old == "[[price]]" else 1
    with pytest.raises(ConfigurationError) as raised:
        load_prices(write(tmp_path, TEXT.replace(old, new, occurrences)))
    assert f"our-prices.toml{message}" in str(raised.value)


def test_an_empty_file(tmp_path: Path) -> None:
    """A file without prices is refused, not taken for a world without them."""
    with pytest.raises(ConfigurationError, match="missing"):
        load_prices(write(tmp_path, ""))
