"""The command line's frame: which commands are offered, what errors and exit codes look like."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from visionq import cli, installation
from visionq.cli import shared
from visionq.errors import (
    BY_CODE,
    BillingUnknown,
    BudgetExhausted,
    CorruptImage,
    InsufficientBalance,
    JobFailed,
    QueueUnavailable,
    VisionqError,
    WaitTimeout,
)
from visionq.settings import ConfigurationError

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def point(name: str, module: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, f"{module}:{name}", cli.COMMANDS)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> list[importlib.metadata.EntryPoint]:
    """The entry points that the group finds; a test fills in what it needs."""
    points: list[importlib.metadata.EntryPoint] = []
    monkeypatch.setattr(cli, "entry_points", lambda group: [p for p in points if p.group == group])
    monkeypatch.delitem(cli.cli.__dict__, "found", raising=False)
    return points


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have the only command, `fail`, end in an error."""

    @click.command()
    def fail() -> None:
        """Fail at once."""
        raise error

    monkeypatch.setitem(cli.cli.__dict__, "found", {"fail": point("fail", "visionq")})
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda _: fail)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CorruptImage("cut off", image="a.jpg"), 1, "error: corrupt_image: a.jpg: cut off\n"),
        (JobFailed("refused", "the model declined"), 1, "error: refused: the model declined\n"),
        (WaitTimeout("not after 5 s"), 1, "error: wait_timeout: not after 5 s\n"),
        (ConfigurationError("X: no number"), 2, "error: configuration: X: no number\n"),
        (QueueUnavailable("down\nreally"), 3, "error: queue_unavailable: down really\n"),
        (BillingUnknown("cut"), 3, "error: billing_unknown: cut\n"),
        (InsufficientBalance("empty"), 4, "error: insufficient_balance: empty\n"),
        (BudgetExhausted("spent"), 4, "error: budget_exhausted: spent\n"),
        (JobFailed("cancelled", "by you"), 4, "error: cancelled: by you\n"),
        (JobFailed("not_known_here", "newer"), 1, "error: not_known_here: newer\n"),
    ],
)
def test_errors(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: VisionqError,
    code: int,
    line: str,
) -> None:
    """An expected error is one line with its code, and its own exit code."""
    raising(monkeypatch, error)
    assert cli.run(["fail"]) == code
    assert capsys.readouterr() == ("", line)


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command with 130 and no traceback."""
    raising(monkeypatch, KeyboardInterrupt())
    assert cli.run(["fail"]) == 130
    assert capsys.readouterr() == ("", "\ninterrupted\n")


def test_defects_stay_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is not dressed up as one of visionq."""
    raising(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.run(["fail"])


@pytest.mark.parametrize("arguments", [["no-such-command"], ["up", "--workers", "0"], ["--what"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that can't be understood ends with 2 and says what is wrong."""
    assert cli.run(arguments) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        *(f"jobs {name}" for name in ("show", "cancel", "resume", "replay", "picture")),
        *(f"dead-letters {name}" for name in ("show", "drop", "replay")),
        "spend settle",
    ],
)
def test_an_id_that_is_no_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no UTF-8 are refused as an id in one line, before Redis is asked."""
    assert cli.run([*command.split(), "\udcff"]) == 2
    assert "'\\udcff' is not an id: it is not UTF-8" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    assert cli.run(["--version"]) == 0
    assert re.fullmatch(r"visionq, version \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


#: What the frame of the command line has no use for, each of which costs more than all of it.
HEAVY = (
    "celery",
    "httpx2",
    "kombu",
    "openai",
    "PIL",
    "pydantic",
    "redis",
    "rich",
    "sqlite3",
    "ssl",
)
MODULES = """
import json, sys
from visionq import cli
code = cli.run(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], [], ["no-such-command"]])
def test_the_frame_is_light(arguments: list[str]) -> None:
    """Help imports no command, nor any package but click."""
    command = [sys.executable, "-c", MODULES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, modules = json.loads(done.stdout.splitlines()[-1])
    packages = {name.partition(".")[0] for name in modules}
    assert packages.isdisjoint(HEAVY)
    commands = {one.module for one in importlib.metadata.entry_points(group=cli.COMMANDS)}
    assert commands.isdisjoint(modules)
    ours = {name for name in modules if name.startswith(("visionq.", "producer", "worker"))}
    assert len(ours) < 15


def test_the_summaries_are_those_of_the_commands() -> None:
    """The list of commands says what each command's own help says."""
    for point in importlib.metadata.entry_points(group=cli.COMMANDS):
        shown = click.Command("a", help=cli._docstring(point)).get_short_help_str(1000)
        assert shown == point.load().get_short_help_str(1000) != ""


def test_a_command_of_another_package_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that comes with another package is listed with its own help."""
    raising(monkeypatch, ZeroDivisionError())
    assert cli.run(["--help"]) == 0
    assert re.search(r"^  fail +Fail at once\.$", capsys.readouterr().out, re.MULTILINE)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that are found beside visionq; a test fills in what it needs."""
    names: set[str] = set()
    monkeypatch.setattr(installation, "_is_installed", names.__contains__)
    return names


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--port", "80", "--no-such-option", "x"]])
@pytest.mark.parametrize("name", sorted(installation.NEEDED))
def test_missing_extras(
    installed: set[str], capsys: pytest.CaptureFixture[str], name: str, arguments: list[str]
) -> None:
    """A command whose packages are not installed says in one line which extra brings them."""
    del installed
    assert cli.run([name, *arguments]) == 2
    needed = installation.NEEDED[name]
    extra = needed[0] if len(needed) == 1 else "all"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: configuration: `visionq {name}` needs ")
    assert err.endswith(f"not installed: pip install 'visionq[{extra}]'\n")
    assert err.count("\n") == 1


def test_missing_extras_are_listed(installed: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The list of commands has those that lack an extra, and names it."""
    installed |= {"aiohttp", "pillow"}
    assert cli.run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert re.search(
        r"^  worker +Not installed; comes with visionq\[worker\]\.$", listed, re.MULTILINE
    )
    assert re.search(r"^  up +Not installed; comes with visionq\[all\]\.$", listed, re.MULTILINE)
    assert re.search(r"^  simulator +Run a", listed, re.MULTILINE)


def test_one_missing_package_is_named(installed: set[str]) -> None:
    """Installed packages are not reported as missing."""
    installed |= {"fastapi", "uvicorn"}
    with pytest.raises(ConfigurationError, match="needs python-multipart, which is not installed"):
        installation.check_extras("It", ["gateway"])


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("pyvenv.cfg", "pip install"),
        ("pipx_metadata.json", "pipx runpip visionq install"),
        ("uv-receipt.toml", "uv pip install --python {prefix}"),
    ],
)
def test_extras_are_added_by_what_installed_visionq(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mark: str, command: str
) -> None:
    """Environments of pipx and `uv tool` have no pip that one could call: theirs is named."""
    (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    expected = f"{command.format(prefix=tmp_path)} 'visionq[worker]'"
    assert installation.install_command("worker") == expected


def test_every_needed_extra_is_declared() -> None:
    """The extras that commands ask for exist, and `all` brings every one of them."""
    metadata = importlib.metadata.metadata("visionq")
    wanted = {extra for needed in installation.NEEDED.values() for extra in needed}
    assert wanted | {installation.ALL} <= set(metadata.get_all("Provides-Extra", []))
    requirements = metadata.get_all("Requires-Dist", [])
    of_all = {line.split(";")[0] for line in requirements if "extra == 'all'" in line}
    for extra in wanted:
        of_one = {line.split(";")[0] for line in requirements if f"extra == '{extra}'" in line}
        assert of_one
        assert of_one <= of_all


def test_needs_of_unknown_commands(offer: list[importlib.metadata.EntryPoint]) -> None:
    """Every command that needs extras is a command, and another one is unknown."""
    assert set(installation.NEEDED) <= {
        found.name for found in importlib.metadata.entry_points(group=cli.COMMANDS)
    }
    offer += [point("here", "visionq.cli")]
    context = click.Context(cli.cli)
    assert cli.cli.list_commands(context) == ["here"]
    assert cli.cli.get_command(context, "gone") is None


def test_broken_command_is_a_defect(
    offer: list[importlib.metadata.EntryPoint],
) -> None:
    """An installed command that can't be imported is an error, not an absent command."""
    offer += [point("broken", "visionq.no_such_module")]
    with pytest.raises(ModuleNotFoundError):
        cli.cli.get_command(click.Context(cli.cli), "broken")


def test_json_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON keeps other alphabets, stays on one line, and prints an error's parts."""
    shared.print_json(shared.error_document(CorruptImage("обрыв", image="кот.jpg")))
    assert capsys.readouterr().out == (
        '{"error": {"code": "corrupt_image", "message": "обрыв", "file": "кот.jpg"}}\n'
    )


def test_every_code_is_documented() -> None:
    """The table in docs/cli.md has each code of the error tree with its true exit code."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
    documented = {code: int(exit_code) for code, exit_code in rows}
    true = {code: shared.exit_code(error("")) for code, error in BY_CODE.items()}
    assert {code: documented.get(code) for code in true} == true


def test_a_gate_that_is_closed_by_hand() -> None:
    """A job parked behind the gate was stopped by the operator."""
    assert shared.exit_code(JobFailed("operator", "parked")) == 4
