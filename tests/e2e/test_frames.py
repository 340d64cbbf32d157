"""Frames of each library get their answers as columns, and nothing is paid twice for them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

import visionq
from tests.support.docs_blocks import ROOT, blocks
from tests.support.fleet import Fleet, running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from visionq.errors import InvalidJob, InvalidSource
from visionq.frames import child_process
from visionq.frames.answer_columns import AnswerColumns
from visionq.frames.frame_rows import table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Card(BaseModel):
    title: str
    height: int | None = None
    tags: list[str] = []


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("frames"), workers=1, concurrency=8) as running:
        yield running


@pytest.fixture(name="folder")
def _folder(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with six pictures, and a process that finds the fleet."""
    for name, value in fleet.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(child_process, "_COMMAND", (warm_visionq(),))
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    return tmp_path


def calls(fleet: Fleet) -> int:
    count: int = fleet.simulator.bill()["calls"]
    return count


#: Photo and title of each row: 7 is no file, and the last is the first again.
ROWS = [{"photo": f"{number}.png", "title": f"№ {number}"} for number in (3, 1, 7, 2, 3)]


def lib(name: str) -> Any:
    """Import a library, which takes seconds, only where a test runs that needs it."""
    return importlib.import_module(name)


MAKE: dict[str, Callable[[], Any]] = {
    "pandas": lambda: lib("pandas").DataFrame(ROWS, index=list("edcba")),
    "polars": lambda: lib("polars").DataFrame(ROWS),
    "arrow": lambda: lib("pyarrow").Table.from_pylist(ROWS),
    "list": lambda: [dict(row) for row in ROWS],
}
READ: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "pandas": lambda frame: frame.to_dict("records"),
    "polars": lambda frame: frame.to_dicts(),
    "arrow": lambda table: table.to_pylist(),
    "list": lambda rows: rows,
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("kind", MAKE)
def test_each_kind_of_frame(fleet: Fleet, kind: str) -> None:
    """Structs, errors and costs come in the order of the rows; a second call pays nothing."""
    frame = MAKE[kind]()
    ask: dict[str, Any] = {"image": "photo", "prompt": f"{kind}: {{title}}", "schema": Card}
    before = calls(fleet)
    mapped = visionq.map(frame, **ask)
    assert type(mapped) is type(frame)
    rows = READ[kind](mapped)
    assert [{name: row[name] for name in ("photo", "title")} for row in rows] == ROWS
    answered = [row["answer"] for row in rows if row["photo"] != "7.png"]
    assert all(answer.keys() == {"title", "height", "tags"} for answer in answered)
    assert rows[0]["answer"] == rows[4]["answer"] != rows[1]["answer"]
    assert "file_not_found" in rows[2]["answer_error"]
    assert "7.png" in rows[2]["answer_error"]
    assert not any(rows[number]["answer_error"] for number in (0, 1, 3, 4) if kind != "pandas")
    assert [row["answer_cost_rub"] > 0 for row in rows] == [True, True, False, True, False]
    assert calls(fleet) == before + 3
    fleet.redis.flushall()
    assert READ[kind](visionq.map(frame, **ask))[0]["answer"] == rows[0]["answer"]
    assert calls(fleet) == before + 3


@pytest.mark.usefixtures("folder")
def test_types_of_columns() -> None:
    """A schema gives a struct of its types, no schema a text, and an open one JSON as text."""
    pl = lib("polars")
    frame = pl.DataFrame(ROWS[:1])
    ask: dict[str, Any] = {"image": "photo", "prompt": "types"}
    typed = visionq.map(frame, schema=Card, **ask)
    struct = pl.Struct({"title": pl.String, "height": pl.Int64, "tags": pl.List(pl.String)})
    assert typed.schema["answer"] == struct
    assert typed.schema["answer_cost_rub"].is_decimal()
    again = visionq.map(typed, into="said", **ask)
    assert again.schema["said"] == again.schema["said_error"] == pl.String
    assert again["answer"].to_list() == typed["answer"].to_list()
    open_schema: dict[str, Any] = {"type": "object", "additionalProperties": True}
    assert json.loads(visionq.map(frame, schema=open_schema, **ask)["answer"][0]) is not None
    assert visionq.map(lib("pandas").DataFrame(ROWS[:1], index=["x"]), **ask).index.tolist() == [
        "x"
    ]


def test_pictures_of_each_form(folder: Path) -> None:
    """A cell has a path, bytes or several; a list may hold the pictures themselves."""
    one = (folder / "1.png").read_bytes()
    rows: list[dict[str, Any]] = [
        {"image": one},
        {"image": ["1.png", folder / "2.png"]},
        {"image": {"bytes": one}},
    ]
    answers = [row["answer"] for row in visionq.map(rows, prompt="forms")]
    assert answers[0] == answers[2]
    assert "2: 64x48" in answers[1]
    listed = visionq.map([folder / "1.png", one], prompt="forms")
    assert listed[0]["answer"] == listed[1]["answer"] == answers[0]
    assert visionq.map([], prompt="forms") == []


@pytest.mark.usefixtures("folder")
def test_ids(fleet: Fleet) -> None:
    """Ids may be numbers, 0 too; a row that changed is asked again in its place."""
    before = calls(fleet)
    frame = lib("pandas").DataFrame(
        {"image": ["1.png", "2.png"], "sku": [0, 1], 7: "", "title": ["a", "b"]}
    )
    visionq.map(frame, prompt="ids: {title}", id="sku")
    frame["title"] = ["a", "c"]
    again = visionq.map(frame, prompt="ids: {title}", id="sku")
    assert "c" in again["answer"][1]
    assert calls(fleet) == before + 3


@pytest.mark.parametrize("kind", MAKE)
def test_a_number_too_large_for_a_column(kind: str) -> None:
    """An integer beyond 64 bits is the error of its row, and keeps no other answer back."""
    schema = {"type": "object", "properties": {"total": {"type": "integer"}}}
    answers = {
        name: {"error": None, "data": {"total": total}, "cost_rub": "1"}
        for name, total in (("a", 10**20), ("b", 7.0))
    }
    columns = AnswerColumns("answer", schema).made_of(["a", "b"], answers)
    rows = READ[kind](table_of(MAKE[kind]()[:2], "photo").with_columns(columns))
    assert "64 bits" in rows[0]["answer_error"]
    assert rows[1]["answer"] == {"total": 7}


@pytest.mark.usefixtures("folder")
def test_a_budget_is_of_the_frame() -> None:
    """Rows beyond the budget say so; with more rubles the same call asks about the rest."""
    frame = lib("polars").DataFrame({"image": [f"{number}.png" for number in range(6)]})
    first = visionq.map(frame, prompt="budget", max_rub="0.002", max_output_tokens=16)
    left_out = [error or "" for error in first["answer_error"]]
    assert any("budget_exhausted" in error for error in left_out)
    assert first["answer_cost_rub"].sum() <= 0.002
    rest = visionq.map(frame, prompt="budget", max_rub=5, max_output_tokens=16)
    assert rest["answer_error"].null_count() == 6


@pytest.mark.usefixtures("folder")
def test_a_quote_asks_nothing(fleet: Fleet) -> None:
    """A quote counts the rows that differ and those refused, and makes no call."""
    before = calls(fleet)
    made = visionq.quote(lib("pandas").DataFrame(ROWS), image="photo", prompt="{title}")
    assert (made.rows, made.asked, made.refused) == (4, 3, {"file_not_found": 1})
    assert 0 < made.low <= made.expected <= made.high
    assert "3 of 4 rows" in str(made)
    assert calls(fleet) == before


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"image": "foto"}, InvalidSource, "no column 'foto'; there are: 'photo', 'title'"),
        ({"prompt": "{titel}"}, InvalidSource, "titel.*title"),
        ({"prompt": " "}, InvalidJob, "prompt"),
        ({"into": "title"}, InvalidSource, "'title' already"),
        ({"id": "sku"}, InvalidSource, "no column 'sku'"),
        ({"max_rub": -1}, InvalidJob, "max_rub"),
        ({"max_rub": "much"}, InvalidJob, "max_rub"),
        ({"schema": "card"}, InvalidJob, "schema"),
        ({"detail": "huge"}, InvalidJob, "detail"),
        ({"colour": "red"}, InvalidJob, "--colour"),
        ({"model": "no-such-model"}, InvalidJob, "no price"),
        ({"frame": lambda: lib("polars").LazyFrame(ROWS)}, InvalidSource, "collect"),
        ({"frame": {"photo": ["1.png"]}}, InvalidSource, "not dict"),
        ({"frame": [{"photo": 7.5, "title": ""}]}, InvalidJob, "row 1: photo has no path"),
        ({"frame": [{"photo": "1.png", "title": n} for n in "ab"], "id": "photo"}, InvalidSource,
         "row 2: the id '1.png' belongs to another row"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_what_is_wrong(
    fleet: Fleet, given: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Wrong arguments raise one line that names them, before anything is paid."""
    before = calls(fleet)
    given = {name: value() if callable(value) else value for name, value in given.items()}
    with pytest.raises(error, match=says):
        visionq.map(**{"frame": ROWS, "image": "photo", "prompt": "{title}", **given})
    assert calls(fleet) == before


def notebook(folder: Path, *cells: str) -> list[str]:
    """Run a notebook of these cells in a folder; return the texts of its outputs."""
    nbformat = lib("nbformat")
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(made, folder / "shop.ipynb")
    # In a process of its own: the clients of kernels leave sockets and warnings behind.
    program = (
        "import nbclient, nbformat; book = nbformat.read('shop.ipynb', 4);"
        "nbclient.NotebookClient(book, timeout=100).execute(); nbformat.write(book, 'shop.ipynb')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, env={**os.environ})
    outputs = (
        output
        for cell in nbformat.read(folder / "shop.ipynb", 4)["cells"]
        for output in cell["outputs"]
    )
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


def test_the_page_in_a_notebook(folder: Path) -> None:
    """The cells of the page run in a notebook, show progress, and leave their cache beside it."""
    for number in (17, 18):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    page = [block.text for block in blocks(ROOT / "docs/frames.md") if block.language == "python"]
    said = "\n".join(notebook(folder, *page))
    assert "2 of 2 rows to be paid for" in said
    assert "done: 2 rows" in said
    assert "'title'" in said
    assert len([*(folder / "visionq-cache").glob("*.jsonl")]) == 1


_MANY = """
import visionq
rows = visionq.map([f"{number}.png" for number in range(6)], prompt="killed")
print(sum(row["answer"] is not None for row in rows))
"""


def test_a_killed_kernel_pays_nothing_twice(fleet: Fleet, folder: Path) -> None:
    """A process that is killed in mid-run, and started again, pays once for each row."""
    before = calls(fleet)
    fleet.simulator.configure(latency_s=3)
    with subprocess.Popen([sys.executable, "-c", _MANY], cwd=folder) as killed:
        until(lambda: calls(fleet) > before, 60, "a call")
        killed.kill()
    fleet.simulator.configure(latency_s=0)
    assert notebook(folder, _MANY)[-1].strip() == "6"
    assert calls(fleet) == before + 6


_INTERRUPTED = f"""
try:
    {_MANY.strip().replace(chr(10), chr(10) + "    ")}
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.long
def test_an_interrupt_keeps_answers(fleet: Fleet, folder: Path) -> None:
    """A call that is interrupted waits for what is out, keeps it, and raises."""
    before = calls(fleet)
    fleet.simulator.configure(latency_s=3)
    program = _INTERRUPTED.replace("killed", "interrupted")
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        until(lambda: calls(fleet) > before, 60, "a call")
        process.send_signal(2)
        assert process.communicate(timeout=60)[0].strip() == "stopped"
    fleet.simulator.configure(latency_s=0)
    rows = visionq.map([f"{number}.png" for number in range(6)], prompt="interrupted")
    assert all(row["answer"] for row in rows)
    assert calls(fleet) == before + 6


@pytest.mark.long
def test_a_stack_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook starts a stack where none runs, and ends it; its answers outlive it."""
    for name in ("VISIONQ_REDIS_URL", "PROXYAPI_API_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    first = notebook(folder, _MANY)
    assert "starting a temporary one" in "\n".join(first)
    again = notebook(folder, _MANY)
    assert (first[-1].strip(), again[-1].strip()) == ("6", "6")
    assert "starting a temporary one" not in "\n".join(again)
