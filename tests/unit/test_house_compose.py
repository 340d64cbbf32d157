from __future__ import annotations

import copy
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema.validators import validator_for

from tests.support.dockerfile import context, instructions, made_anew
from visionq.cli import cli
from visionq.pricing.flex import longest_call
from visionq.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("worker", "flower", "gateway", "exporter", "simulator")
#: The specification's own schema, as check-jsonschema brings it.
SCHEMA: dict[str, Any] = json.loads(
    (files("check_jsonschema.builtin_schemas") / "vendor/compose-spec.json").read_text("utf-8")
)


def faults(compose: dict[str, Any]) -> list[str]:
    return [fault.json_path for fault in validator_for(SCHEMA)(SCHEMA).iter_errors(compose)]


def test_file_keeps_to_the_specification() -> None:
    """The file is what the Compose specification's schema describes, and a slip would be told."""
    assert faults(COMPOSE) == []
    slipped = copy.deepcopy(COMPOSE)
    slipped["services"]["worker"]["stop_grace"] = "150s"
    assert faults(slipped) == ["$.services.worker"]


def test_services_are_those_of_the_house() -> None:
    """Compose runs Redis, workers, Flower and gateway, and the rest only when asked to."""
    assert {name: service.get("profiles") for name, service in SERVICES.items()} == {
        "redis": None,
        "worker": None,
        "flower": None,
        "gateway": None,
        "exporter": ["monitoring"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
        "simulator": ["simulator"],
    }


def test_only_loopback_is_published() -> None:
    """A service for people has a port on the host, and on loopback alone."""
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(ports) == ["flower", "gateway", "grafana"]
    assert all(port.startswith("127.0.0.1:") for some in ports.values() for port in some)


def test_redis_is_out_of_reach_from_outside() -> None:
    """Redis, metrics and simulator are on the inner network alone, which has no way out."""
    assert COMPOSE["networks"]["inner"] == {"internal": True}
    assert all(
        SERVICES[name]["networks"] == ["inner"]
        for name in ("redis", "exporter", "prometheus", "simulator")
    )


@pytest.mark.parametrize(
    "line",
    [
        "appendonly yes",
        'save ""',
        "maxmemory-policy noeviction",
        "requirepass ${REDIS_PASSWORD:?set it in .env}",
    ],
)
def test_redis_keeps_what_it_is_given(line: str) -> None:
    """Redis writes to disk, evicts nothing and asks for a password."""
    assert line in COMPOSE["configs"]["redis"]["content"].splitlines()


def test_worker_may_finish_its_calls() -> None:
    """A stopping worker gets longer than the longest call, and ten seconds more."""
    grace = re.fullmatch(r"(\d+)s", SERVICES["worker"]["stop_grace_period"])
    assert grace
    assert int(grace[1]) >= longest_call(Settings()) + 10


def test_workers_can_be_scaled() -> None:
    """Nothing of the worker is there only once, so `--scale worker=4` works."""
    unique = {"ports", "container_name", "hostname", "volumes", "expose"}
    assert unique & SERVICES["worker"].keys() == set()


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_bounded(name: str) -> None:
    """Memory and processes of visionq are limited, and so are the logs of all services."""
    assert SERVICES[name]["mem_limit"]
    assert SERVICES[name]["pids_limit"]
    assert all(service["logging"] == {"driver": "local"} for service in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_inline_config_has_a_disk_to_be_written_to(name: str) -> None:
    """A config with `content` is copied into the container, which a read-only disk refuses."""
    service = SERVICES[name]
    inline = [
        one for one in service.get("configs", ()) if "content" in COMPOSE["configs"][one["source"]]
    ]
    assert not (inline and service.get("read_only"))


def test_key_is_given_to_workers_alone() -> None:
    """`.env` with the provider's key goes to the worker, and no other service names the key."""
    assert [name for name, service in SERVICES.items() if "env_file" in service] == ["worker"]
    others = {name: service for name, service in SERVICES.items() if name != "worker"}
    assert "PROXYAPI_API_KEY" not in json.dumps(others)


def test_secrets_reach_who_needs_them() -> None:
    """No service gets a secret that it has no use for, though the worker reads `.env`."""
    users = {
        "VISIONQ_FLOWER_PASSWORD": {"flower", "grafana"},
        "VISIONQ_FLOWER_GUEST_PASSWORD": {"flower"},
        "VISIONQ_GATEWAY_KEY": {"gateway"},
    }
    for name, allowed in users.items():
        told = {one for one, service in SERVICES.items() if f"${{{name}" in json.dumps(service)}
        assert told == allowed
        assert SERVICES["worker"]["environment"][name] == ""
    assert SERVICES["worker"]["environment"]["REDIS_PASSWORD"] == ""


def test_worker_is_checked_by_its_progress() -> None:
    """The worker's check is the command that reads what the process says of its progress."""
    assert SERVICES["worker"]["healthcheck"]["test"] == ["CMD", "visionq", "health"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check(name: str) -> None:
    """Each service is checked, and none through Celery, which takes seconds."""
    check = SERVICES[name]["healthcheck"]["test"]
    assert check[0] in {"CMD", "CMD-SHELL"}
    assert "celery" not in " ".join(check)


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_our_image_with_few_rights(name: str) -> None:
    """Our services share one image, with a read-only disk and no capabilities."""
    service = SERVICES[name]
    assert (service["image"], service["read_only"], service["cap_drop"]) == (
        "visionq",
        True,
        ["ALL"],
    )
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108  # a place of the container's own


@pytest.mark.parametrize("name", OURS)
def test_start_line_is_a_command_that_exists(name: str) -> None:
    """A service starts with `visionq` and a command and options that it has."""
    program, command, *options = SERVICES[name]["command"]
    assert program == "visionq"
    help_text = CliRunner().invoke(cli, [command, "--help"]).output
    assert all(option in help_text for option in options if option.startswith("--"))
    assert help_text.startswith(f"Usage: cli {command} ")


@pytest.mark.parametrize(
    "name", ["docker-compose.yml", "Dockerfile", "requirements.lock", "Makefile"]
)
def test_no_registry_is_committed(name: str) -> None:
    """Images and packages come from wherever the operator says: no host is written down."""
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"https?://(?!127\.0\.0\.1)|index-url|[a-z0-9-]+\.[a-z]{2,}/[a-z]+:", text)


def test_image_is_no_root() -> None:
    """The image's last user is a number other than root's, so Kubernetes can check it."""
    users = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert users
    assert int(users[-1]) > 0


def test_every_variable_of_compose_is_explained() -> None:
    """A variable that Compose fills in has its line in the example."""
    files = (ROOT / "docker-compose.yml").read_text("utf-8")
    example = (ROOT / ".env.example").read_text("utf-8")
    names = set(re.findall(r"\$\{([A-Z_]+)", files))
    assert names
    assert {name for name in names if not re.search(rf"^#?{name}=", example, re.MULTILINE)} == set()


def test_dockerfile_copies_what_the_context_has() -> None:
    """Each thing that the image needs is let through by .dockerignore, and nothing else is."""
    copied = {
        path
        for one in instructions()
        if one.word == "COPY" and one.source_stage is None
        for path in one.paths[:-1]
    }
    assert copied == set(context())
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize(
    "changed", ["visionq/cli/__init__.py", "worker/celery/tasks.py", "pyproject.toml", "README.md"]
)
def test_change_of_code_spares_the_dependencies(changed: str) -> None:
    """A change of code makes the wheel again, and installs it, and touches no dependency."""
    lines = [one.rest for one in made_anew([changed])]
    assert any("hatchling build" in line for line in lines)
    assert any("--no-deps --no-index" in line for line in lines)
    assert not any("requirements-run.lock" in line or "-m venv" in line for line in lines)
    assert "--from=dependencies /opt/visionq /opt/visionq" not in lines


def test_change_of_the_lock_makes_all_anew() -> None:
    """A changed lock is installed, and reaches the image."""
    lines = [one.rest for one in made_anew(["requirements-run.lock"])]
    assert any("--require-hashes" in line for line in lines)
    assert "--from=dependencies /opt/visionq /opt/visionq" in lines
    assert any("--no-deps --no-index" in line for line in lines)


def test_image_holds_no_checkout() -> None:
    """The image ends with the dependencies and the wheel."""
    image = [one for one in instructions() if not one.stage and one.word == "COPY"]
    assert [one.source_stage for one in image] == ["dependencies", "wheel"]
