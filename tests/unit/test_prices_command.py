from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from visionq.cli import run
from visionq.data import load
from visionq.pricing.prices import PriceTable, load_prices

if TYPE_CHECKING:
    from pathlib import Path


ROW = 'source = "s"\ndate = 2026-11-01\nconfirmed = true\n'


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("VISIONQ_REDIS_URL", "VISIONQ_PRICES_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_prices_are_shown_with_source_and_age(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row says where it comes from, of when it is, and what half of it costs in batches."""
    assert run(["prices", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["source"], shown["batch_factor"]) == ("built in", "0.5")
    rows = {row["model"]: row for row in shown["prices"]}
    assert rows.keys() == {price.model for price in load_prices().prices}
    mini = rows["gpt-4o-mini"]
    assert (mini["input_rub"], mini["batch_input_rub"], mini["output_rub"]) == ("39", "19.5", "155")
    assert (mini["date"], mini["confirmed"]) == ("2026-06-06", False)
    assert mini["age_days"] > 0


def test_prices_are_shown_to_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with what is unconfirmed, the batch lane, and how to enter one's own."""
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["prices", "show"]) == 0
    said = capsys.readouterr().out
    for words in ("gpt-4o-mini", "unconfirmed", "batch lane costs 0.5", "VISIONQ_PRICES_FILE"):
        assert words in said


def test_the_template_is_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--toml` prints a file that can be used as it is."""
    assert run(["prices", "show", "--toml"]) == 0
    file = tmp_path / "prices.toml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load(PriceTable, "", file) == load_prices()
    assert run(["prices", "check", str(file)]) == 0
    assert str(file) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('batch_factor = "0.5"\n[[price]]\nmodel = "x"\ninput = "1"\n', "line 2: price 1 (x): "),
        (
            'batch_factor = "0.5"\n[[price]]\nmodel = "x"\ninput = 1.5\noutput = "1"\n' + ROW,
            'line 4: price 1 (x): input: write the number in quotes: "1.5"',
        ),
        ("batch_factor = \n", "line 1"),
    ],
)
def test_a_wrong_table_is_told_with_line_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """It can't be used: exit code 2 and one line."""
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    assert run(["prices", "check", str(file)]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert "own.toml" in line
    assert line.count("\n") == 1


def test_a_check_says_what_is_old_or_unconfirmed(capsys: pytest.CaptureFixture[str]) -> None:
    """The built-in table is no bill, and the check says so."""
    assert run(["prices", "check", "--json"]) == 0
    found = {one["check"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["prices.table"]["level"] == "warning"
    assert "never compared with a bill" in found["prices.table"]["message"]
