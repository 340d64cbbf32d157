from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: English pages that have a Russian one beside them.
PAGES = (
    "README.md",
    "docs/README.md",
    "docs/quickstart.md",
    "docs/clients.md",
    "docs/gateway.md",
    "docs/operations.md",
    "docs/errors.md",
    "docs/configuration.md",
    "docs/bulk.md",
    "docs/batch-lane.md",
    "docs/compare.md",
    "docs/photo-libraries.md",
    "docs/cascade.md",
    "docs/recipes.md",
)
#: Every page, in both languages.
ALL = sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def english(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def russian(page: str) -> str:
    return (ROOT / page).with_suffix(".ru.md").read_text("utf-8")


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ .+$", FENCE.sub("", text), re.MULTILINE)


def code(text: str) -> list[tuple[str, list[str]]]:
    """Each block's language and lines, without what a comment says."""
    return [
        (language, [re.sub(r"\s*#.*", "", line) for line in block.splitlines()])
        for language, block in FENCE.findall(text)
    ]


def shape(text: str) -> list[str]:
    """Return the parts of a page, in order: headings, list items, rows of tables, pictures."""
    lines = FENCE.sub("", text).splitlines()
    marks = (re.match(r"#+ |- |\| |!\[", line) for line in lines)
    return [mark[0] for mark in marks if mark]


def anchors(text: str) -> set[str]:
    """The names by which GitHub lets a page's headings be linked."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()) for heading in headings(text))
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same_shape(page: str) -> None:
    """A Russian page has the headings, lists, tables and pictures of the English one, in order."""
    assert shape(russian(page)) == shape(english(page))


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_show_the_same_code(page: str) -> None:
    """Commands to type are the same in both languages, but for their comments."""
    assert code(russian(page)) == code(english(page))


@pytest.mark.parametrize("page", PAGES)
def test_pages_link_each_other(page: str) -> None:
    """A page in the wrong language links the other one in its first lines."""
    name = Path(page).name
    assert f"({name.replace('.md', '.ru.md')})" in english(page)[:200]
    assert f"({name})" in russian(page)[:200]


@pytest.mark.parametrize("page", PAGES)
def test_russian_pages_stay_in_russian(page: str) -> None:
    """A Russian page links other pages in their Russian form, where they have one."""
    folder = (ROOT / page).parent
    own = Path(page).name
    led = {
        target.partition("#")[0]
        for target in LINK.findall(russian(page))
        if not target.startswith(("http", "#"))
    }
    translated = {(ROOT / other).resolve() for other in PAGES}
    astray = [
        target for target in led if target != own and (folder / target).resolve() in translated
    ]
    assert astray == []


@pytest.mark.parametrize("page", ALL)
def test_links_lead_somewhere(page: str) -> None:
    """Each link to a file of visionq leads to one that is there, and to a heading that it has."""
    path = ROOT / page
    for target in LINK.findall(FENCE.sub("", path.read_text("utf-8"))):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        found = path.parent / name if name else path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text("utf-8")), target


def test_documents_name_the_pages_in_russian() -> None:
    """The list of documents says which pages exist in Russian, and marks all others as English."""
    languages = english("docs/README.md").partition("## Languages")[2]
    named = {(ROOT / "docs" / target).resolve() for target in LINK.findall(languages)}
    assert named == {ROOT / page for page in PAGES} - {ROOT / "docs/README.md"}
    for row in russian("docs/README.md").splitlines():
        if row.startswith("| ") and ".md)" in row:
            assert ("по-английски" in row) == (".ru.md)" not in row), row


def test_nothing_is_left_out() -> None:
    """Every Russian page is compared with its English one here."""
    found = {*ROOT.glob("*.ru.md"), *ROOT.glob("docs/**/*.ru.md")}
    assert {ROOT / page.replace(".md", ".ru.md") for page in PAGES} == found
