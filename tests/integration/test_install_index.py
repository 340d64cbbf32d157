from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, metadata
from sysconfig import get_platform
from typing import TYPE_CHECKING
from venv import EnvBuilder

import pytest

from tests.support import small_wheel
from tests.support.checkout import lay_checkout, make, program
from tests.support.small_wheel import write_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A pin of a lock, without its hashes: name, version, and perhaps a marker.
PIN = re.compile(r"^([a-z0-9.-]+)==([^ ;]+)( ;.+)? \\$", re.MULTILINE)
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "small_wheel"\nbackend-path = ["."]\n'


class Index:
    """A package index on loopback."""

    def __init__(self, folder: Path) -> None:
        self._files = folder / "files"
        self._pages = folder / "simple"
        self._links: defaultdict[str, str] = defaultdict(str)
        self._files.mkdir(parents=True)

    def add(
        self,
        name: str,
        version: str,
        lines: list[str],
        *,
        tag: str = "py3-none-any",
        yanked: bool = False,
    ) -> str:
        """Release a small wheel; returns its hash."""
        path = write_wheel(self._files, name, version, lines, tag)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        withdrawn = ' data-yanked="broken"' if yanked else ""
        self._links[name] += (
            f'<a href="/files/{path.name}#sha256={digest}"{withdrawn}>{path.name}</a>\n'
        )
        page = self._pages / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!DOCTYPE html><html><body>{self._links[name]}</body></html>", "utf-8")
        return digest


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parent's name
        del format, args


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


@pytest.fixture
def index_url(tmp_path: Path, index: Index) -> Iterator[str]:
    del index
    handler = partial(_Quiet, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout that its own build backend installs, on a machine with Python alone."""
    folder = lay_checkout(tmp_path / "checkout")
    (folder / "requirements-run.lock").write_text("", "utf-8")
    (folder / "pyproject.toml").write_text(PROJECT, "utf-8")
    shutil.copy(small_wheel.__file__, folder)
    program(folder, "python3", f'exec {sys.executable} "$@"')
    return folder


def needs(name: str) -> list[str]:
    """Return the lines of a package's real metadata that say what it needs, and in which extra."""
    try:
        real = metadata(name)
    except PackageNotFoundError:  # not for this platform
        return []
    return [
        f"{header}: {value}"
        for header in ("Provides-Extra", "Requires-Dist")
        for value in real.get_all(header) or ()
    ]


def age(lock: Path, index: Index) -> None:
    """Fill the index as a lock finds it a year later, and give the lock the hashes of its files.

    Each package needs what the real one needs. Its pinned release is withdrawn, and there is a
    newer one, that needs what is not to be had.
    """
    pins = list(PIN.finditer(lock.read_text("utf-8")))
    assert pins
    lines = []
    for name, version, marker in (pin.groups(default="") for pin in pins):
        digest = index.add(name, version, needs(name), yanked=True)
        lines.append(f"{name}=={version}{marker} \\\n    --hash=sha256:{digest}\n")
    for name in {pin[1] for pin in pins}:
        index.add(name, "99999999", ["Requires-Dist: nobody-has-this"])
    lock.write_text("".join(lines), "utf-8")


def release(checkout: Path, index: Index, *tags: str) -> None:
    """Lock and release one package for each of these tags of wheels."""
    for number, tag in enumerate(tags):
        digest = index.add(f"package-{number}", "1.0", [], tag=tag)
        with (checkout / "requirements-run.lock").open("a", encoding="utf-8") as lock:
            lock.write(f"package-{number}==1.0 --hash=sha256:{digest}\n")


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest, checkout: Path) -> None:
    """Have the machine install by this Python's own pip, or by uv."""
    if request.param == "uv":
        found = shutil.which("uv") or pytest.skip("uv is not installed")
        (checkout / "bin/uv").symlink_to(found)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with pip; making one takes seconds."""
    path = tmp_path_factory.mktemp("environment") / ".venv"
    EnvBuilder(with_pip=True).create(path)
    return path


@pytest.fixture
def has_environment(checkout: Path, environment: Path) -> None:
    """Have the checkout's .venv made already."""
    shutil.copytree(environment, checkout / ".venv", symlinks=True)


@pytest.fixture
def settings(index_url: str) -> dict[str, str]:
    """Return the variables by which pip and uv ask this index, and none beside it."""
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index_url,
        # What pip says about this is for the log.
        "PIP_FIND_LINKS": "/no/such/place",
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": index_url,
    }


def installed(checkout: Path) -> set[str]:
    """Return the names and versions that .venv holds."""
    (site,) = (checkout / ".venv/lib").glob("python3.*/site-packages")
    return {path.stem for path in site.glob("*.dist-info")}


@pytest.mark.usefixtures("installer")
def test_year_old_lock_installs(checkout: Path, index: Index, settings: dict[str, str]) -> None:
    """Despite later releases, what is locked is installed, with one line for each step."""
    age(checkout / "requirements.lock", index)
    result = make(checkout, "dev", **settings)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"Creating .venv with Python {sys.version.split()[0]}",
        "Installing what requirements-run.lock lists into .venv",
        "Installing this checkout",
        "Installed.",
        "Installing what requirements.lock lists into .venv",
        "Installed.",
    ]
    found = installed(checkout)
    assert {"coverage", "redis", "visionq"} <= {name.partition("-")[0] for name in found}
    assert not [name for name in found if name.endswith("-99999999")]


@pytest.mark.long
@pytest.mark.parametrize("pip", ["pip==23.0.1", "pip==23.2.1", "pip==24.0", "pip"])
@pytest.mark.usefixtures("has_environment")
def test_every_pip_installs(
    checkout: Path, index: Index, settings: dict[str, str], pip: str
) -> None:
    """A year-old lock is installed by old and new pips alike; they come from a real index."""
    if pip == "pip==23.0.1" and sys.version_info >= (3, 12):
        pytest.skip("this pip is too old for this Python")
    python = str(checkout / ".venv/bin/python")
    command = [python, "-m", "pip", "install", "--quiet", "--upgrade", pip]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no package index is in reach")
    age(checkout / "requirements.lock", index)
    result = make(checkout, "dev", **settings)
    assert (result.returncode, result.stderr) == (0, "")
    assert not [name for name in installed(checkout) if name.endswith("-99999999")]


@pytest.mark.usefixtures("has_environment", "installer")
def test_missing_wheel_is_one_line(checkout: Path, index: Index, settings: dict[str, str]) -> None:
    """Without a wheel for this Python, a line names the package and what to do."""
    release(checkout, index, "py3-none-any", "cp399-cp399-any")
    result = make(checkout, "install", **settings)
    assert result.returncode
    line, *_ = result.stderr.splitlines()
    running = f"Python {sys.version_info.major}.{sys.version_info.minor} on {get_platform()}"
    assert line == (
        f"make install: your package index has no wheel of package-1==1.0 for {running};"
        " use another Python: make install PYTHON=/path/to/python3.12"
        " (the log: .venv/install.log)"
    )


@pytest.mark.usefixtures("has_environment", "installer")
def test_failure_names_the_log(checkout: Path, index: Index, settings: dict[str, str]) -> None:
    """Any other failure is shown in short, with the file that has all of it."""
    release(checkout, index, "py3-none-any")
    lock = checkout / "requirements-run.lock"
    lock.write_text(re.sub("sha256:.{8}", "sha256:00000000", lock.read_text("utf-8")), "utf-8")
    result = make(checkout, "install", **settings)
    assert result.returncode
    *_, line, _ = result.stderr.splitlines()
    assert line == "make install: failed with the lines above; the whole log: .venv/install.log"
    assert "package-0" in (checkout / ".venv/install.log").read_text("utf-8")


@pytest.mark.usefixtures("has_environment", "installer")
def test_contradicting_leftover_is_told(
    checkout: Path, index: Index, settings: dict[str, str]
) -> None:
    """A package of an earlier lock that contradicts this one is noticed."""
    release(checkout, index, "py3-none-any")
    lock = checkout / "requirements-run.lock"
    leftover = index.add("leftover", "1.0", ["Requires-Dist: package-0<1.0"])
    current = lock.read_text("utf-8")
    lock.write_text(f"leftover==1.0 --hash=sha256:{leftover}\n", "utf-8")
    make(checkout, "install", **settings)
    lock.write_text(current, "utf-8")
    result = make(checkout, "install", **settings)
    assert result.returncode
    assert "remove .venv and repeat" in result.stderr
