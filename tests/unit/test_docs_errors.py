from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from visionq.errors import BY_CODE

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = [
    path
    for package in ("visionq", "producer", "worker", "monitoring")
    for path in sorted((ROOT / package).rglob("*.py"))
]
#: Page → what each code's three points begin with, and the word for a code that is not given yet.
PAGES: Final = {
    "errors.md": ("What happened:", "Cost:", "What to do:", "Reserved"),
    "errors.ru.md": ("Что случилось:", "Во что обошлось:", "Что делать:", "зарезервирован"),  # noqa: RUF001  # Russian
}
BOTH: Final = pytest.mark.parametrize("page", PAGES)


def sections(page: str) -> dict[str, str]:
    """Code → what the page says of it."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    parts = re.split(r"^### `(\w+)`$", text, flags=re.MULTILINE)
    return {
        code: re.split(r"^## ", said, flags=re.MULTILINE)[0]
        for code, said in zip(parts[1::2], parts[2::2], strict=True)
    }


def codes_of_the_tree() -> set[str]:
    """Every code that a class of visionq has; those outside `visionq.errors` too."""
    of_class = r'^(?:    code(?:: str)? = |class \w+\([^)]*\bcode=)"(\w+)"'
    pattern = re.compile(of_class, re.MULTILINE)
    return {code for path in SOURCES for code in pattern.findall(path.read_text("utf-8"))}


@BOTH
def test_every_code_has_its_section(page: str) -> None:
    """The page speaks of the codes of the error tree: of no more and no fewer."""
    assert set(sections(page)) == codes_of_the_tree()
    assert set(BY_CODE) <= codes_of_the_tree()


@BOTH
def test_every_section_says_all(page: str) -> None:
    """Each code says what happened, what it cost, and what to do, in this order and once."""
    *points, _ = PAGES[page]
    for code, said in sections(page).items():
        assert re.findall(r"^- \*\*(.+?)\*\* \S", said, re.MULTILINE) == points, code


def test_both_languages_have_the_same_order() -> None:
    """A code is found at the same place of both pages."""
    assert list(sections("errors.md")) == list(sections("errors.ru.md"))


@BOTH
def test_codes_that_nothing_raises_are_called_reserved(page: str) -> None:
    """A code is called reserved while, and only while, nothing in the code gives it."""
    # Those two know every class by name and raise none.
    known = {ROOT / "visionq/errors.py", ROOT / "visionq/cli/shared.py"}
    text = "\n".join(path.read_text("utf-8") for path in SOURCES if path not in known)
    unused = {code for code, error in BY_CODE.items() if error.__name__ not in text}
    reserved = {code for code, said in sections(page).items() if PAGES[page][-1] in said}
    assert reserved == unused
