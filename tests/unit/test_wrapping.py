"""Lines for people keep their words whole in a terminal."""

from __future__ import annotations

import os
import pty
from typing import TYPE_CHECKING

from visionq.cli.shared import print_wrapped, wrapped

if TYPE_CHECKING:
    import pytest

LINE = "  046000072: Картинка 1: 60x40, основной цвет #483a3d. Картинка 2: 60x40, цвет #166a."


def test_lines_are_broken_between_words() -> None:
    """No line is wider than the terminal, what follows is indented alike, and no word is lost."""
    lines = wrapped(LINE, 60).split("\n")
    assert len(lines) > 1
    assert all(len(line) <= 60 and line.startswith("  ") for line in lines)
    assert " ".join(" ".join(lines).split()) == LINE.strip()


def test_a_word_wider_than_the_terminal_stays_whole() -> None:
    """A path or an address can be copied; the terminal breaks it where it must."""
    path = "/very" * 30
    assert wrapped(f"error: {path} is not there", 40) == f"error:\n{path}\nis not there"


def test_a_terminal_gets_wrapped_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 50 columns is respected."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("COLUMNS", "50")
        print_wrapped(LINE)
    shown = os.read(ours, 4096).decode().splitlines()
    os.close(ours)
    assert len(shown) > 1
    assert max(map(len, shown)) <= 50


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets one line, however long."""
    print_wrapped(LINE)
    assert capsys.readouterr().err == f"{LINE}\n"
