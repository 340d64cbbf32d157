"""`visionq run` against real workers: through any interruption, each picture is answered once."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.bulk_run import arguments, command, make_pictures
from tests.chaos.bulk_run import run as interrupted_run
from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from visionq.ledger.metrics import read_forgotten
from visionq.names import JOB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Fleet


#: More than all slots of the fleet can take at once, three times over.
ROWS = 150
#: An answer is 30 tokens; with this limit a call reserves a kopeck, and costs a third of that.
SHORT = ("--max-output-tokens", "64")


class Folder:
    """Pictures, and one OUT of them."""

    def __init__(self, fleet: Fleet, path: Path) -> None:
        self.fleet = fleet
        self.path = path
        self.out = path / "out.jsonl"

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(self.path, self.out, *options),
            env={**os.environ, "VISIONQ_REDIS_URL": self.fleet.server.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str) -> tuple[int, str]:
        return self.visionq(*arguments(self.path, self.out, *options))

    def visionq(self, *words: str) -> tuple[int, str]:
        """Run a command to its end; return its exit code and its messages."""
        done = subprocess.run(
            [warm_visionq(), *words],
            env={**os.environ, "VISIONQ_REDIS_URL": self.fleet.server.url},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stderr

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text("utf-8").splitlines()]

    def ids(self) -> list[str]:
        return sorted(row["id"] for row in self.rows())

    def billed(self) -> dict[str, int]:
        digests = self.fleet.simulator.bill()["digests"]
        return {digest: said["billed"] for digest, said in digests.items()}


@pytest.fixture
def folder(fleet: Fleet, tmp_path: Path) -> Folder:
    make_pictures(tmp_path / "pictures", ROWS)
    return Folder(fleet, tmp_path)


@pytest.mark.timeout(400)
def test_killed_three_times_and_redis_emptied_once(tmp_path: Path) -> None:
    """Every row is in OUT once and in order; only calls that Redis lost are billed again."""
    report = interrupted_run(600, tmp_path)
    assert report.written == report.distinct == 600
    assert report.in_order
    assert report.failed == 0
    assert report.killed_at == sorted(report.killed_at)
    assert report.billed == 600 + report.twice
    # What ends between the count and the emptying is not among the counted.
    assert report.twice <= report.out_when_emptied + 64


def test_nothing_to_do_needs_no_stack(folder: Folder) -> None:
    """A run whose rows all are in OUT ends at once, where no stack runs as well."""
    assert folder.run()[0] == 0
    before = folder.rows()
    state = folder.path / "state"
    environment = {**os.environ, "XDG_STATE_HOME": str(state), "HOME": str(folder.path)}
    for name in ("VISIONQ_REDIS_URL", "PROXYAPI_API_KEY"):
        environment.pop(name, None)
    for more in ([], ["--detach"], ["--first", "3"]):
        done = subprocess.run(
            [warm_visionq(), *arguments(folder.path, folder.out, *more)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"done: {ROWS} rows" in done.stderr
        assert "stack" not in done.stderr
    assert folder.rows() == before
    assert not state.exists()


def test_stops_at_its_budget(folder: Folder) -> None:
    """The bill stays within `--max-rub`, exit 4 says why it stopped, and more rubles go on."""
    code, said = folder.run("--max-rub", "0.1", *SHORT)
    assert code == 4, said
    assert "--max-rub" in said
    assert Decimal(folder.fleet.simulator.bill()["rub"]) <= Decimal("0.1")
    answered = folder.ids()
    assert 0 < len(answered) < ROWS
    assert all(row["error"] is None for row in folder.rows())
    assert not folder.fleet.redis.keys(f"{JOB}*")
    code, said = folder.run("--max-rub", "0.12", *SHORT)
    assert code == 4, said
    assert Decimal(folder.fleet.simulator.bill()["rub"]) <= Decimal("0.12")
    assert len(folder.ids()) > len(answered)
    code, said = folder.run("--max-rub", "1000", *SHORT)
    assert code == 0, said
    assert len(set(folder.ids())) == len(folder.rows()) == ROWS
    assert set(folder.billed().values()) == {1}


def test_stops_where_paid_answers_fail(folder: Folder) -> None:
    """It says why with examples, keeps what it has, and goes on where that is wished."""
    folder.fleet.simulator.configure(faults={"refusal": 1}, latency_s=0.3)
    code, said = folder.run()
    assert code == 4, said
    assert "paid answers fail" in said
    assert "refused 20" in said or "failed (refused" in said
    assert said.count("refused: ") == 3
    assert "paid for rows without an answer: refused 0." in said
    rows = folder.rows()
    assert 20 <= len(rows) < ROWS
    assert len(rows) == folder.fleet.simulator.bill()["billed"]
    folder.fleet.simulator.configure(faults={}, latency_s=0)
    code, said = folder.run("--max-waste", "100", "--retry-failed")
    assert code == 0, said
    assert len(folder.rows()) == ROWS


def test_budget_outlives_redis(folder: Folder) -> None:
    """The cost of the rows in OUT counts although the ledger's books are lost."""
    code, _ = folder.run("--max-rub", "0.1", *SHORT)
    assert code == 4
    folder.fleet.redis.flushall()
    until(lambda: len(folder.fleet.registered()) == 2, 30, "workers to come back")
    code, said = folder.run("--max-rub", "0.101", *SHORT)
    assert code == 4, said
    assert Decimal(folder.fleet.simulator.bill()["rub"]) <= Decimal("0.101")


def test_an_empty_balance_is_waited_for(folder: Folder) -> None:
    """The run says that the balance is used up, and goes on by itself when it is filled."""
    folder.fleet.simulator.configure(balance_rub="0.07")
    process = folder.start(*SHORT)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "the balance is used up" in line:
            break
    folder.fleet.simulator.configure(balance_rub=1_000)
    _, more = process.communicate(timeout=100)
    assert process.returncode == 0, "".join(said) + more
    assert len(folder.ids()) == ROWS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_cleanly(folder: Folder, number: signal.Signals) -> None:
    """Calls that are out are collected, the others withdrawn; the same command goes on."""
    folder.fleet.simulator.configure(latency_s=1)
    process = folder.start()
    until(lambda: folder.out.exists() and bool(folder.rows()), 30, "the first rows")
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "goes on" in said
    billed = folder.billed()
    assert len(folder.rows()) == len(billed) < ROWS
    assert not folder.fleet.redis.keys(f"{JOB}*")
    folder.fleet.simulator.configure(latency_s=0)
    code, said = folder.run()
    assert code == 0, said
    assert len(set(folder.ids())) == len(folder.rows()) == ROWS
    assert set(folder.billed().values()) == {1}


def test_out_alone_is_enough(folder: Folder) -> None:
    """With Redis emptied nothing that is in OUT is asked again, and a torn line is repaired."""
    code, _ = folder.run()
    assert code == 0
    with folder.out.open("ab") as out:
        out.write(b'{"id":"0000/0000999.png","te')
    folder.fleet.redis.flushall()
    until(lambda: len(folder.fleet.registered()) == 2, 30, "workers to come back")
    (folder.path / "pictures" / "0000" / "0000999.png").write_bytes(picture(999))
    code, said = folder.run()
    assert code == 0, said
    assert len(set(folder.ids())) == len(folder.rows()) == ROWS + 1
    assert folder.fleet.simulator.bill()["billed"] == ROWS + 1


def test_what_an_emptied_redis_forgot_is_told(folder: Folder) -> None:
    """A run that lives through it has every row; `spend` has no fewer than were paid twice."""
    fleet = folder.fleet
    fleet.simulator.configure(latency_s=1)
    process = folder.start()
    slots = fleet.concurrency * len(fleet.workers)
    until(lambda: fleet.simulator.bill()["calls"] > slots, 30, "calls after the first ones")
    fleet.redis.flushall()
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert len(set(folder.ids())) == len(folder.rows()) == ROWS
    twice = sum(billed > 1 for billed in folder.billed().values())
    forgotten = read_forgotten(fleet.redis)
    assert 0 < forgotten <= ROWS
    assert twice <= forgotten


def test_failed_rows_are_asked_again(folder: Folder) -> None:
    """`--retry-failed` asks those alone that failed, and leaves one line a row."""
    (folder.path / "pictures" / "0000" / "0000007.png").write_bytes(b"no picture")
    code, said = folder.run()
    assert code == 1, said
    assert "not_an_image 1" in said
    (folder.path / "pictures" / "0000" / "0000007.png").write_bytes(picture(7))
    assert folder.run()[0] == 1
    code, said = folder.run("--retry-failed")
    assert code == 0, said
    assert len(set(folder.ids())) == len(folder.rows()) == ROWS
    assert folder.fleet.simulator.bill()["billed"] == ROWS


def test_some_rows_a_sample_and_what_has_changed(folder: Folder) -> None:
    """`--only` and `--first` leave other rows alone; a changed picture is reported, then asked."""
    pictures = folder.path / "pictures" / "0000"
    names = [f"0000/{number:07}.png" for number in (3, 5)]
    code, said = folder.run("--only", names[0], "--only", names[1])
    assert (code, folder.ids()) == (0, names), said
    code, said = folder.run("--only", "0000/none.png")
    assert code == 2
    assert "there is no row '0000/none.png' (--only)" in said
    code, said = folder.run("--first", "20")
    assert code == 0, said
    assert "sample: 20 rows, 20 answered" in said
    assert f"done: {ROWS} rows" in said
    os.utime(pictures / "0000003.png", ns=(1, 1))
    (pictures / "0000005.png").write_bytes(picture(5_000))
    code, said = folder.run()
    assert code == 0, said
    assert "changed since they were answered: 1 row (pictures of 1); --retry-changed" in said
    assert folder.fleet.simulator.bill()["billed"] == ROWS
    code, said = folder.run("--retry-changed")
    assert code == 0, said
    assert folder.fleet.simulator.bill()["billed"] == ROWS + 1
    assert {row["id"]: row["attempt"] for row in folder.rows()}[names[1]] == 2
    assert len(set(folder.ids())) == len(folder.rows()) == ROWS


def test_a_table_with_the_columns_of_its_source(folder: Folder) -> None:
    """Of a CSV comes a CSV with its columns, its own options, and one row for each product."""
    source, out = folder.path / "goods.csv", folder.path / "answers.csv"
    lines = ["Артикул;Название, цвет;Фото;visionq.detail"]
    lines += [f"00{n // 2};Чайник, №{n // 2};pictures\\0000\\{n:07}.png;low" for n in range(6)]
    source.write_bytes("\r\n".join(lines).encode("cp1251"))
    words = ["run", str(source), "-p", "Это {Название, цвет}?", "-o", str(out), "--yes"]
    code, said = folder.visionq(*words, "--group", "--excel", "--ordered")
    assert code == 0, said
    assert "pictures: 'Фото'; ids: 'Артикул'" in said
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert [row["id"] for row in rows] == ['="000"', '="001"', '="002"']
    assert [row["Название, цвет"] for row in rows] == ["Чайник, №0", "Чайник, №1", "Чайник, №2"]
    assert rows[0]["file"] == "pictures\\0000\\0000000.png; pictures\\0000\\0000001.png"
    assert {row["detail"] for row in rows} == {"low"}
    assert all("," in row["cost_rub"] for row in rows)
    assert folder.fleet.simulator.bill()["billed"] == 3


def system(program: str, *arguments: str | Path) -> None:
    subprocess.run([shutil.which(program) or program, *arguments], capture_output=True, check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk with room for half of the rows."""
    place = tmp_path / "small"
    place.mkdir()
    try:
        system("mount", "-t", "tmpfs", "-o", "size=88k", "tmpfs", place)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield place
    system("umount", place)


def test_a_full_disk_is_told_and_nothing_is_lost(folder: Folder, small_disk: Path) -> None:
    """The run stops in one line; with more room the same command pays for no picture again."""
    folder.out = small_disk / "out.jsonl"
    folder.fleet.simulator.configure(latency_s=0.3)  # answers come in portions that fit
    code, said = folder.run()
    assert code == 1
    assert "the disk is full; make room and run the same command again" in said
    assert 0 < len(folder.ids()) < ROWS
    code, said = folder.run("--ordered")
    assert (code, said.splitlines()[-1].count("the disk is full")) == (1, 1)
    system("mount", "-o", "remount,size=1m", small_disk)
    code, said = folder.run("--ordered")
    assert code == 0, said
    assert len(set(folder.ids())) == len(folder.rows()) == ROWS
    assert set(folder.billed().values()) == {1}
    assert "OUT will grow" not in said


def test_simulated_answers_are_marked(folder: Folder) -> None:
    """Rows that the simulator answered say so, also where a stored answer of it is reused."""
    (folder.path / "pictures" / "0000" / "0000007.png").write_bytes(b"no picture")
    code, said = folder.run()
    assert code == 1
    assert f"simulated answers: {ROWS - 1}; no model has seen these pictures" in said
    marked = {row["id"]: row["simulated"] for row in folder.rows()}
    assert marked.pop("0000/0000007.png") is False  # nobody was asked
    assert all(marked.values())
    folder.out = folder.path / "again.jsonl"
    assert folder.run()[0] == 1
    assert all(row["simulated"] and row["cached"] for row in folder.rows() if not row["error"])


def test_detached(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detached run is listed, is stopped, is resumed, and reports how it ended."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("VISIONQ_REDIS_URL", folder.fleet.server.url)
    folder.fleet.simulator.configure(latency_s=2)
    assert folder.run("--detach")[0] == 0
    until(lambda: folder.out.exists() and bool(folder.rows()), 30, "the first rows")
    (noted,) = json.loads(visionq("runs", "list", "--json"))
    assert noted["state"] == "running"
    assert json.loads(visionq("runs", "stop", noted["id"], "--json"))["exit_code"] == 130
    assert 0 < len(folder.rows()) < ROWS
    folder.fleet.simulator.configure(latency_s=0)
    assert folder.run("--detach", "--max-rub", "1000")[0] == 0
    assert "done" in visionq("runs", "attach", noted["id"])
    shown = json.loads(visionq("runs", "show", noted["id"], "--json"))
    assert (shown["state"], shown["exit_code"]) == ("ended", 0)
    assert set(folder.billed().values()) == {1}
    assert len(folder.rows()) == ROWS


def visionq(*words: str) -> str:
    done = subprocess.run(
        [warm_visionq(), *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
