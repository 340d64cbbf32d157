from __future__ import annotations

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from monitoring.flower.flower_settings import FlowerSettings
from producer.gateway.gateway_settings import GatewaySettings
from visionq.setting_types import Variables
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[2]
COMPOSE_ONLY = {
    "BASE_IMAGE",
    "COMPOSE_PROFILES",
    "GRAFANA_IMAGE",
    "FLOWER_PORT",
    "GATEWAY_PORT",
    "GRAFANA_PORT",
    "PIP_INDEX_URL",
    "PROMETHEUS_IMAGE",
    "REDIS_IMAGE",
    "REDIS_MAXMEMORY",
    "REDIS_PASSWORD",
    "WORKER_MEMORY",
}


def variables(settings: type[BaseSettings]) -> Iterator[tuple[str, object]]:
    """Name each variable that a settings class reads, with its default."""
    prefix = settings.model_config["env_prefix"]
    read = settings.variable_fields() if issubclass(settings, Variables) else settings.model_fields
    for name in read:
        field = settings.model_fields[name]
        alias = field.validation_alias
        choices = getattr(alias, "choices", [alias] if alias else [prefix + name.upper()])
        yield str(choices[0]), field.default


def example() -> list[tuple[str, str, str]]:
    """Read (line before, name, value) of each variable in the example."""
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    found = []
    for before, line in pairwise(lines):
        match = re.fullmatch(r"#?([A-Z_]+)=(.*)", line)
        if match:
            found.append((before, match[1], match[2]))
    return found


READ = {
    name: default
    for settings in (Settings, FlowerSettings, GatewaySettings)
    for name, default in variables(settings)
}


def test_there_are_few_variables() -> None:
    """An operator can read all that may be set: 45 variables, the most that the product has."""
    assert len(READ) <= 45


def test_example_lists_every_variable_once() -> None:
    """Every variable that is read is in the example, once, and no other does."""
    assert sorted(name for _, name, _ in example()) == sorted({*READ, *COMPOSE_ONLY})


@pytest.mark.parametrize(("before", "name", "value"), example())
def test_example_explains_each_variable(before: str, name: str, value: str) -> None:
    """Each variable of the example has a line that explains it."""
    assert re.fullmatch(r"# [^-].+", before), f"{name}={value}"


@pytest.mark.parametrize(("before", "name", "value"), example())
def test_example_shows_the_defaults(before: str, name: str, value: str) -> None:
    """The value in the example is the one that holds when the variable is not set."""
    default = READ.get(name)
    if name in READ and value:
        assert value == (str(int(default)) if isinstance(default, bool) else str(default)), before
    elif name in READ:
        assert default in {None, "", ()}


def test_a_shell_reads_the_example(tmp_path: Path) -> None:
    """A shell that sources the example, the values in its comments too, gets each one."""
    wanted, lines, before = {}, [], ""
    for line in (ROOT / ".env.example").read_text("utf-8").splitlines():
        if match := re.fullmatch(r"#?([A-Z_]+)=(.*)", line):
            shown = re.search(r"'\{.*\}'", before)
            value = match[2] or (shown[0] if shown else "")
            wanted[match[1]] = value.strip("'")
            lines.append(f"{match[1]}={value}")
        before = line
    file = tmp_path / "sourced.env"
    file.write_text("\n".join(lines), "utf-8")
    command = f"set -a; . '{file}'; set +a; env -0"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env={}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    read = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if "=" in pair)
    assert {name: read.get(name) for name in wanted} == wanted
    json.loads(read["VISIONQ_LIMITS"])
    json.loads(read["VISIONQ_HOST_HEADERS"])


def test_environment_is_scrubbed() -> None:
    """No test sees a key, an address or a stack of the developer's own."""
    assert Settings().api_key is None
    assert Settings().redis_url is None
