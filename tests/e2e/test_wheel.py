"""Without a checkout: the wheel installed, and everything started from other people's folders."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tarfile
import zipfile
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pictures import picture
from tests.support.wheel import ROOT, Installed, build, install, set_traps
from visionq.installation import NEEDED, PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    return build("wheel", ROOT, folder)


@pytest.fixture(scope="module")
def client(wheel: Path, folder: Path) -> Installed:
    """The wheel without an extra."""
    return install(wheel, folder / "client")


@pytest.fixture(scope="module")
def full(wheel: Path, folder: Path) -> Installed:
    """The wheel with all that running needs, and others' packages of our names beside it."""
    installed = install(wheel, folder / "full", ["all"])
    for name in PACKAGES:
        trap = installed.site_packages / name
        trap.mkdir()
        (trap / "__init__.py").write_text("raise SystemExit('not ours')\n", "utf-8")
    return installed


@pytest.fixture(scope="module")
def foreign(folder: Path) -> Path:
    """A folder with modules of well-known names, in which nobody may write."""
    path = set_traps(folder / "foreign")
    path.chmod(0o555)
    return path


@pytest.fixture(scope="module")
def stack(full: Installed, foreign: Path) -> Iterator[dict[str, Any]]:
    """`visionq up` in that folder: what its JSON line says."""
    with subprocess.Popen(
        [full.folder / "bin/visionq", "up", "--json", "--simulate", "--workers", "1"],
        cwd=foreign,
        env=full.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline() or b"null") or pytest.fail("up did not start")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def files_of(package: str) -> set[str]:
    found = (path for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_wheel_holds_every_file(wheel: Path) -> None:
    """Each file of the four packages is in the wheel; beside `visionq` there is no other name."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    bundled = {f"visionq/_bundled/{name}" for one in PACKAGES for name in files_of(one)}
    assert names == files_of("visionq") | bundled


def test_make_dist_builds_both() -> None:
    """`make dist` builds wheel and source as these tests do."""
    asked = subprocess.run(
        [
            shutil.which("make") or pytest.skip("needs make"),
            "--no-print-directory",
            "--dry-run",
            "dist",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.rstrip().endswith("/bin/python -m hatchling build")


def test_source_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """The wheel that is built from the sdist is, byte for byte, the one built from the checkout."""
    source = build("sdist", ROOT, tmp_path)
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / source.name.removesuffix(".tar.gz"), tmp_path)
    assert again.read_bytes() == wheel.read_bytes()


def test_wheel_adds_one_name(client: Installed) -> None:
    """An environment gets `visionq` and its metadata, and no other name."""
    ours = {path.name for path in client.site_packages.iterdir() if not path.is_symlink()}
    version = distribution("visionq").version
    assert ours == {"visionq", f"visionq-{version}.dist-info"}


def test_demo_from_the_root(full: Installed) -> None:
    """`visionq demo` runs to its end from `/`."""
    shown = full.run("visionq", "demo", cwd="/")
    assert shown.returncode == 0, shown.stderr
    for word in ("429", "rejected", "₽", "they agree to the last digit"):
        assert word in shown.stdout


def test_every_part_starts_in_a_foreign_folder(stack: dict[str, Any]) -> None:
    """With any files in the working directory, each part of the stack is ours."""
    assert sorted(stack["pids"]) == [
        *("exporter", "flower", "gateway", "redis", "simulator", "worker")
    ]


def test_ask_and_run(full: Installed, stack: dict[str, Any], foreign: Path, folder: Path) -> None:
    """`ask` and `run` answer from that folder, a detached run among them."""
    (folder / "p.png").write_bytes(picture(1))
    environment = {"VISIONQ_REDIS_URL": stack["redis_url"]}

    def visionq(*arguments: str) -> str:
        done = full.run("visionq", *arguments, cwd=foreign, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "64x48" in visionq("ask", str(folder / "p.png"), "-p", "Что тут?")
    run = ("run", str(folder / "p.png"), "-p", "Что это?", "--yes", "-o")
    visionq(*run, str(folder / "rows.jsonl"))
    assert "64x48" in (folder / "rows.jsonl").read_text("utf-8")
    detached = json.loads(visionq(*run, str(folder / "later.jsonl"), "--detach", "--json"))
    visionq("runs", "attach", detached["id"])
    assert "64x48" in (folder / "later.jsonl").read_text("utf-8")


def test_picture_alone(full: Installed, foreign: Path) -> None:
    """The process that looks at a dangerous picture starts there, and ends with its worker."""
    program = (
        "from visionq.installation import python_command as p;"
        " print(*p('worker.isolated_decode'), sep='\\n')"
    )
    command = full.run("python", "-P", "-c", program).stdout.splitlines()
    ended = full.run("python", *command[1:], "10", cwd=foreign)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", sorted(NEEDED))
def test_client_says_what_is_missing(client: Installed, command: str) -> None:
    """A command that an install for clients lacks names its extra in one line."""
    refused = client.run("visionq", command)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"`visionq {command}` needs " in refused.stderr
    assert "pip install 'visionq[" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_client_can_not_start_a_stack(client: Installed, folder: Path) -> None:
    """`ask` without a stack says that starting one needs an extra."""
    (folder / "p.png").write_bytes(picture(1))
    refused = client.run("visionq", "ask", str(folder / "p.png"), "-p", "Что тут?")
    assert refused.returncode == 2
    assert refused.stderr.endswith("not installed: pip install 'visionq[all]'\n")


def test_client_asks_a_stack(client: Installed, stack: dict[str, Any], folder: Path) -> None:
    """An install for clients asks and runs on a stack that is elsewhere."""
    (folder / "q.png").write_bytes(picture(2, (80, 60)))
    asked = client.run(
        *("visionq", "ask", str(folder / "q.png"), "-p", "Что тут?"),
        VISIONQ_REDIS_URL=stack["redis_url"],
    )
    assert asked.returncode == 0, asked.stderr
    assert "80x60" in asked.stdout


def test_users_test_without_a_stack(wheel: Path, folder: Path) -> None:
    """The page's test runs where the wheel and pytest are, and no Redis."""
    page = (ROOT / "docs" / "clients.md").read_text("utf-8")
    example = page.partition("<!-- example: pytest -->\n```python\n")[2].partition("```")[0]
    (folder / "test_shop.py").write_text(example, "utf-8")
    tester = install(wheel, folder / "tester", ["testing"])
    done = tester.run("python", "-m", "pytest", "-q", "test_shop.py", cwd=folder)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_import_is_light(client: Installed) -> None:
    """`import visionq` loads no more modules of visionq than its own, and nobody else's."""
    program = (
        "import sys; before = set(sys.modules); import visionq\n"
        "new = set(sys.modules) - before\n"
        "print(*(one for one in new if one.partition('.')[0] not in sys.stdlib_module_names))"
    )
    assert client.run("python", "-I", "-c", program).stdout.split() == ["visionq"]
