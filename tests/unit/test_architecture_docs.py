"""The pages for contributors name files that exist and every move that a job can make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from visionq.contract.states import TRANSITIONS, State

_ROOT: Final = Path(__file__).parents[2]
_DOCS: Final = _ROOT / "docs"
_ARROW: Final = re.compile(r"^    (?P<source>\S+) --> (?P<target>\w+|\[\*\])", re.MULTILINE)
_PATH: Final = re.compile(r"`([a-z_]+(?:/[a-z_]+)*(?:/|\.py|\.lua|/[a-z_]+\.(?:py|lua|toml)))`")
#: Rows of a table leave out the folder that the cell before them names.
_FOLDERS: Final = (
    *("", "visionq", "visionq/images", "visionq/pricing", "visionq/ledger", "visionq/sdk"),
    *("worker", "worker/pipeline", "worker/images"),
)


def test_lifecycle_shows_every_transition() -> None:
    """The diagram has the moves of `TRANSITIONS`, and `hinted` as a part of `queued`."""
    expected: set[tuple[str, str]] = {
        (source, target) for source, targets in TRANSITIONS.items() for target in targets
    }
    expected.remove(("queued", "in_progress"))
    expected |= {("hinted", target) for target in (*TRANSITIONS[State.QUEUED], "queued")}
    expected |= {("queued", "hinted"), ("[*]", "queued")}
    expected |= {(state, "[*]") for state in State if state.is_terminal}

    page = (_DOCS / "job-lifecycle.md").read_text()
    shown = {(found["source"], found["target"]) for found in _ARROW.finditer(page)}

    assert shown == expected


def test_lifecycle_tells_each_state() -> None:
    """Each state has its row for operators."""
    page = (_DOCS / "job-lifecycle.md").read_text()
    assert all(f"\n| `{state}` | " in page for state in State)


def test_decisions_are_listed() -> None:
    """The list of decisions has each of them, under its own title."""
    folder = _DOCS / "adr"
    rows = re.compile(r"^\| \[(\d+)\]\((.+)\) \| (.+) \|$", re.MULTILINE)
    listed = rows.findall((folder / "README.md").read_text())
    titles = {path.name: path.read_text().split("\n", 1)[0] for path in folder.glob("0*.md")}
    assert {name for _, name, _ in listed} == set(titles)
    for number, name, title in listed:
        assert titles[name] in {f"# {number} · {title}", f"# {number}. {title}"}


@pytest.mark.parametrize("page", ["architecture.md", "job-lifecycle.md"])
def test_named_files_exist(page: str) -> None:
    """Every file and folder that a page names is there."""
    named = set(_PATH.findall((_DOCS / page).read_text()))
    missing = [
        path for path in named if not any((_ROOT / folder / path).exists() for folder in _FOLDERS)
    ]
    assert named
    assert not missing
