"""Runs what the Dockerfile and docker-compose.yml say, as processes, where there is no engine.

What a container would have of its own is mapped: names of hosts, ports, and absolute paths. The
rest is taken as it is written: commands, environments, configuration, health checks, and a user
that may write nothing but its own folders.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.support.dockerfile import context, instructions
from visionq.devstack.redis_server import find_redis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True)
class Image:
    """An installation: where its programs are, and its working directory."""

    bin: Path
    app: Path


#: The environment that the tests run in; a built image has the same packages.
CHECKOUT: Final = Image(Path(sys.executable).parent, ROOT)


def user_of_image() -> int:
    """Return the user id that the Dockerfile ends with."""
    return int(re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1])


def unprivileged() -> tuple[str, ...]:
    """Return what makes a command run as the image's user; nothing where we are no root anyway.

    It may read all that root may, since a Python often lives in root's home, and write no more
    than its user.
    """
    if os.geteuid() != 0:
        return ()
    user, keep = str(user_of_image()), "-all,+dac_read_search"
    return (
        *("setpriv", "--reuid", user, "--regid", user, "--clear-groups"),
        *("--bounding-set", keep, "--inh-caps", keep, "--ambient-caps", keep),
    )


def own_folder(path: Path) -> Path:
    """Make a folder in which the image's user may write, as a tmpfs or volume is to it."""
    path.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(path, user_of_image(), user_of_image())
    return path


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """Fill in `${NAME}`, `${NAME:-default}` and `${NAME:?message}` as Compose does."""
    if isinstance(value, dict):
        return {name: interpolated(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, variables) for part in value]
    return (
        _VARIABLE.sub(lambda m: _filled(m, variables), value) if isinstance(value, str) else value
    )


def _filled(match: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, rest = match.groups()
    if variables.get(name):
        return variables[name]
    if kind == "?":
        raise KeyError(f"{name}: {rest}")
    return rest if kind == "-" else ""


@dataclass
class Composed:
    """The services of docker-compose.yml as processes of this machine."""

    folder: Path
    image: Image
    env_file: dict[str, str]
    #: What a container would have of its own → what stands for it here.
    mapped: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        text = (ROOT / "docker-compose.yml").read_text("utf-8")
        self.file = interpolated(yaml.safe_load(text), self.env_file)

    def here(self, text: str) -> str:
        """Put what stands for it here in the place of what a container would have."""
        names = "|".join(map(re.escape, self.mapped))
        return re.sub(names, lambda match: self.mapped[match[0]], text)

    def environment(self, service: str) -> dict[str, str]:
        """Return what the service's container would have in its environment, and no more."""
        said = self.file["services"][service]
        given = self.env_file if "env_file" in said else {}
        first = find_redis().parent if service == "redis" else self.image.bin
        path = f"{first}:{os.environ['PATH']}"
        temporary = str(self.folder / "tmp")
        own = {
            name: self.here(value)
            for name, value in {**given, **said.get("environment", {})}.items()
        }
        return {"PATH": path, "HOME": temporary, "TMPDIR": temporary, "LANG": "C.UTF-8", **own}

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Start one container's command; a service may be started several times."""
        said = self.file["services"][service]
        for config in said.get("configs", ()):
            text = self.here(self.file["configs"][config["source"]]["content"])
            Path(self.here(config["target"])).write_text(text)
        with (self.folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                [*unprivileged(), *map(self.here, said["command"])],
                env=self.environment(service),
                cwd=self.image.app,
                stdout=log,
                stderr=log,
            )
        self.running.append(process)
        return process

    def run(self, service: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Do what `docker compose run` or `exec` would do."""
        return subprocess.run(
            [*unprivileged(), *command],
            env=self.environment(service),
            cwd=self.image.app,
            capture_output=True,
            text=True,
            check=False,
        )

    def health(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run the service's health check once."""
        kind, *command = map(self.here, self.file["services"][service]["healthcheck"]["test"])
        return self.run(service, ["sh", "-c", *command] if kind == "CMD-SHELL" else command)

    def stop(self) -> None:
        for process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def composed(
    folder: Path, image: Image, env_file: dict[str, str], mapped: dict[str, str]
) -> Iterator[Composed]:
    own_folder(folder / "tmp")
    services = Composed(folder, image, env_file, mapped)
    try:
        yield services
    finally:
        services.stop()


def build_image(folder: Path) -> Image:
    """Carry out the Dockerfile's instructions in an empty folder, as no root.

    All stages share the folder, as their paths don't overlap.

    Raises:
        AssertionError: one failed.
    """
    folder.chmod(0o755)
    root = own_folder(folder / "image")
    environment = {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
    environment |= {"PATH": os.environ["PATH"], "HOME": str(root), "PIP_INDEX_URL": ""}
    cwd = root
    for one in instructions():
        rest = re.sub("/opt/visionq|/build", lambda match: f"{root}{match[0]}", one.rest)
        match one.word:
            case "ENV" if one.stage:
                environment |= dict(pair.split("=", 1) for pair in rest.split())
            case "WORKDIR":
                cwd = Path(rest)
                _done([*unprivileged(), "mkdir", "-p", rest], environment, root)
            case "COPY" if one.source_stage is None:
                *names, target = one.paths
                for name in names:
                    _copy(name, cwd / target)
            case "COPY":
                source, target = replace(one, rest=rest).paths
                if source != target:
                    _done([*unprivileged(), "cp", "-r", source, target], environment, root)
            case "RUN" if not one.rest.startswith("useradd"):
                # The image's `python` is that of its base; here it is the one that runs the tests.
                command = rest.replace("python -m venv", f"{sys.executable} -m venv", 1)
                _done([*unprivileged(), "sh", "-c", command], environment, cwd)
            case _:
                assert one.word in {"ARG", "CMD", "ENV", "FROM", "RUN", "STOPSIGNAL", "USER"}, one
    return Image(root / "opt/visionq/bin", Path("/"))


def _done(command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
    done = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _copy(name: str, target: Path) -> None:
    """Copy from the build context: what .dockerignore lets through."""
    assert name in context(), f"{name} is not in the build context"
    source = ROOT / name
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
    if os.geteuid() == 0:
        for path in (target, *target.rglob("*")):
            os.chown(path, user_of_image(), user_of_image())
