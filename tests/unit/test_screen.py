"""What is printed for people: fitted to a terminal, whole in a pipe."""

from __future__ import annotations

import io
import os
from decimal import Decimal

import pytest

from visionq.cli.screen import duration, money, people_console, print_rows
from visionq.cli.up import _show

ID = "0c8e6a2a-9f0e-4a53-8a46-2c8e8d9a7f10"
ROWS = [
    (ID, "failed (insufficient_balance)", "openai/gpt-6-luna-2026-10-01", "0.0123"),
    (ID, "a reason with many words in it that goes on and on and on", "m", "12"),
]
HEADINGS = ("ID", "STATE", "MODEL", "COST ₽")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_whole_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row is a line, its fields parted by tabs; a line end in a field is a blank."""
    print_rows(HEADINGS, [*ROWS, ("x", "two\nlines", "", "")])
    lines = capsys.readouterr().out.splitlines()
    assert [tuple(line.split("\t")) for line in lines] == [
        HEADINGS,
        *ROWS,
        ("x", "two lines", "", ""),
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Ids and codes are whole in any width, and nothing is cut."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout", out := Terminal())
    print_rows(HEADINGS, ROWS)
    said = out.getvalue()
    assert "…" not in said
    for word in " ".join(cell for row in ROWS for cell in row).split():
        assert word in said, said


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A drawing for a terminal has its lines whole in a pipe, without trailing blanks."""
    people_console().print("word " * 100)
    assert capsys.readouterr().out == "word " * 99 + "word\n"


def test_the_log_of_up_is_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe a child's line is a line, in a terminal it is wrapped by words."""
    line = "word " * 60 + "the end"
    _show("visionq-worker-1", [line])
    assert capsys.readouterr().err == f"  worker-1 │ {line}\n"
    monkeypatch.setattr("sys.stderr", err := Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    _show("visionq-worker-1", [line])
    lines = err.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(part.partition(" │ ")[2] for part in lines).split() == line.split()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (41.6, "42 s"),
        (65, "1 min 5 s"),
        (300, "5 min"),
        (3700, "1 h 1 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_times_are_said_in_two_units(seconds: float, said: str) -> None:
    """The largest two that are not nought."""
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (None, "?"),
        (Decimal(0), "0.00"),
        (Decimal("0.01234"), "0.0123"),
        (Decimal(12345), "12,345.00"),
    ],
)
def test_rubles_are_said_with_kopecks(amount: Decimal | None, said: str) -> None:
    """More digits only of what is less than a ruble."""
    assert money(amount) == said
