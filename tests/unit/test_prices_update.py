"""`visionq prices update`: what it changes, what it leaves alone, and what it refuses."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.price_pages import ROWS, Rows, as_html, as_tabs
from visionq.cli import run
from visionq.pricing.price_update import as_toml
from visionq.pricing.prices import Price, PriceTable, load_prices

if TYPE_CHECKING:
    from pathlib import Path

#: The page's prices of `ROWS` are those of the built-in table; here one is new and one has changed.
CHANGED: Rows = {
    "gpt-6-luna": ("30", None, "150"),
    "gpt-6.1-terra": ("258", "12,9", "1 290"),
    "gpt-7-luna": ("12,5", "1,25", "60"),
}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("VISIONQ_REDIS_URL", raising=False)
    monkeypatch.delenv("VISIONQ_PRICES_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(folder: Path, text: str, name: str = "page.txt") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def price(file: Path, model: str) -> Price:
    found = load_prices(file).for_model(model)
    assert found is not None
    return found


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_difference_is_shown_and_a_table_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changed, new, equal and absent models; what the page does not tell stays, or follows."""
    assert run(["prices", "update", page(folder, as_tabs(CHANGED)), "--json"]) == 0
    said = told(capsys)
    changes = {
        (one["model"], one["field"]): (one["old_rub"], one["new_rub"], one["in_proportion"])
        for one in said["changes"]
    }
    assert changes == {
        ("gpt-6-luna", "input"): ("25.8", "30", False),
        ("gpt-6-luna", "cached_input"): ("2.58", "3", True),
        ("gpt-6-luna", "cache_write"): ("32.25", "37.5", True),
        ("gpt-6-luna", "output"): ("129", "150", False),
        ("gpt-7-luna", "input"): (None, "12.5", False),
        ("gpt-7-luna", "cached_input"): (None, "1.25", False),
        ("gpt-7-luna", "output"): (None, "60", False),
    }
    assert said["new_models"] == ["gpt-7-luna"]
    assert said["unchanged"] == ["gpt-6.1-terra"]
    assert "gpt-5.5" in said["absent"]
    assert (said["compared_with"], said["written"]) == ("built in", "prices.toml")

    written, built_in = load_prices(folder / "prices.toml"), load_prices()
    luna, before = price(folder / "prices.toml", "gpt-6-luna"), built_in.for_model("gpt-6-luna")
    assert before is not None
    assert [luna.input, luna.cached, luna.written] == [Decimal(30), Decimal(3), Decimal("37.5")]
    assert (luna.service_tiers, luna.long_prompt) == (before.service_tiers, before.long_prompt)
    assert written.batch_factor == built_in.batch_factor
    assert not luna.confirmed
    assert "copied by the operator" in luna.source
    assert written.for_model("gpt-5.5") == built_in.for_model("gpt-5.5")


def test_people_see_the_difference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old and new are beside each other, and what to do next below."""
    assert run(["prices", "update", page(folder, as_html(CHANGED))]) == 0
    said = capsys.readouterr().out
    for words in (
        "3 prices on the page, compared with the built-in table",
        "gpt-6-luna\tinput\t25.8\t30\t",
        "gpt-6-luna\tcached_input\t2.58\t3\tin proportion to input",
        "gpt-7-luna\tinput\tnone\t12.5\t",
        "new: gpt-7-luna",
        "as before: gpt-6.1-terra",
        "unconfirmed until you set",
        "VISIONQ_PRICES_FILE=prices.toml",
    ):
        assert words in said


def test_a_page_without_vendors_finds_its_rows(folder: Path) -> None:
    """A bare `claude-…` of the page is the row by which it is asked, and no new model."""
    told = CHANGED["gpt-6-luna"]
    text = as_tabs({"claude-haiku-4-5": told, "gpt-6-luna": told})
    assert run(["prices", "update", page(folder, text)]) == 0
    own = folder / "prices.toml"
    assert price(own, "anthropic/claude-haiku-4-5").input == price(own, "gpt-6-luna").input
    assert len(load_prices(own).prices) == len(load_prices().prices)


def test_confirmed_is_what_the_operator_says(folder: Path) -> None:
    """A row is confirmed by a flag or by hand; it stays so for as long as its prices do."""
    own, luna = folder / "prices.toml", page(folder, as_tabs({"gpt-6-luna": CHANGED["gpt-6-luna"]}))
    assert run(["prices", "update", luna, "--confirmed"]) == 0
    assert price(own, "gpt-6-luna").confirmed
    assert not price(own, "gpt-5.5").confirmed
    assert run(["prices", "update", luna]) == 0
    assert price(own, "gpt-6-luna").confirmed
    assert run(["prices", "update", page(folder, as_tabs(ROWS), "new.txt")]) == 0
    assert not price(own, "gpt-6-luna").confirmed
    assert not price(own, "gpt-6.1-terra").confirmed


def test_an_own_table_is_the_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table in force is compared with, and one that was written here is kept as it was."""
    assert run(["prices", "update", page(folder, as_tabs(CHANGED)), "-o", "ours.toml"]) == 0
    first = (folder / "ours.toml").read_text("utf-8")
    (folder / "ours.toml.bak").write_text("somebody's")
    monkeypatch.setenv("VISIONQ_PRICES_FILE", "ours.toml")
    capsys.readouterr()
    assert run(["prices", "update", page(folder, as_tabs(ROWS), "new.txt"), "--json"]) == 0
    said = told(capsys)
    assert (said["compared_with"], said["written"]) == ("ours.toml", "ours.toml")
    assert said["kept"] == "ours.toml.bak2"
    assert said["absent"][-1] == "gpt-7-luna"
    assert (folder / "ours.toml.bak").read_text() == "somebody's"
    assert (folder / "ours.toml.bak2").read_text("utf-8") == first
    assert price(folder / "ours.toml", "gpt-7-luna").input == Decimal("12.5")
    assert run(["prices", "check", "ours.toml"]) == 0


def test_stdin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads what is piped in."""
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(as_tabs(CHANGED).encode())))
    assert run(["prices", "update", "-"]) == 0
    assert price(folder / "prices.toml", "gpt-7-luna").output == 60


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Вход в личный кабинет. Пароль:", "a login page"),
        (as_tabs(CHANGED).replace("₽", "$"), "another currency"),
        (as_tabs({"gpt-6-luna": ("0,0258", None, "0,129")}), "are these rubles for a million"),
        (as_tabs({"gpt-6-luna": ("25800", None, "129000")}), "are these rubles for a million"),
    ],
)
def test_a_wrong_page_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    """Refused in one line that names the page, exit code 2, and no file made."""
    assert run(["prices", "update", page(folder, text)]) == 2
    said = capsys.readouterr().err
    assert "page.txt" in said
    assert says in said
    assert said.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["page.txt"]


def test_files_of_others_are_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table made by hand, the page itself and links to either are refused by name."""
    name, by_hand = page(folder, as_tabs(CHANGED)), folder / "own.toml"
    by_hand.write_text(as_toml(load_prices()).partition("\n")[2], "utf-8")
    (folder / "link.toml").symlink_to(by_hand)
    (folder / "hard.txt").hardlink_to(folder / name)
    before = by_hand.read_text("utf-8")
    for out in ("own.toml", "link.toml", name, "hard.txt"):
        assert run(["prices", "update", name, "-o", out]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: configuration: {out}: ")
        assert said.count("\n") == 1
    assert by_hand.read_text("utf-8") == before
    assert run(["prices", "update", name, "-o", "none/there.toml"]) == 2
    assert "none/there.toml: can't be written" in capsys.readouterr().err
    assert run(["prices", "update", "nothing.txt"]) == 2
    assert "nothing.txt: can't be read" in capsys.readouterr().err
    assert not list(folder.glob("*.part"))


def test_a_table_is_written_whole(folder: Path) -> None:
    """A table that is written reads back the same."""
    file = folder / "all.toml"
    file.write_text(as_toml(load_prices()), "utf-8")
    assert load_prices(file) == load_prices()
    assert isinstance(load_prices(file), PriceTable)
