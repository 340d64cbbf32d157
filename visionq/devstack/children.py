"""The processes of a stack: their commands, each with only the environment it needs.

A process can't give away what it does not hold: to its logs, to a page, to injected code.
"""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import redis

from visionq import names
from visionq.devstack.redis_server import (
    TITLE,
    RedisConfig,
    find_redis,
    redis_command,
)
from visionq.devstack.redis_server import is_ready as redis_is_ready
from visionq.devstack.supervisor import Spec
from visionq.http_checks import STACK_HEADER, STACK_NONCE
from visionq.installation import python_command
from visionq.settings import Settings, variable_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Role = Literal["redis", "simulator", "worker", "flower", "gateway", "exporter"]

#: Settings that workers alone have a use for and that are secrets, or lead to some.
WORKERS_SECRETS: Final = frozenset(
    {"api_key", "host_headers", "alert_url", "alert_secret", "traces_url", "sentry_dsn"}
)
#: Variables that `up` sets itself, regardless of its own environment.
_DECIDED: Final = frozenset(
    {
        *("PROXYAPI_API_KEY", "PROXYAPI_BASE_URL"),
        *("VISIONQ_BLOB_URL", "VISIONQ_BROKER_URL", "VISIONQ_REDIS_URL"),
    }
)
#: What any process may want to know of the machine: paths, language, time, libraries.
_MACHINE: Final = (
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|TERM|NO_COLOR|HOSTNAME|XDG_.*"
    "|PYTHON.*|VIRTUAL_ENV|LD_.*|DYLD_.*|MALLOC_.*|COVERAGE_.*|SSL_CERT_(FILE|DIR)"
)
#: Workers go out to the internet, and bring local detectors with settings of their own.
_WORKER: Final = (
    "VISIONQ_(?!FLOWER_|GATEWAY_).*|(HTTPS?|ALL|NO)_PROXY|OTEL_.*|SENTRY_.*|TESSDATA_PREFIX|OMP_.*"
)


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts), re.IGNORECASE)  # as the settings read their names


_SHARED: Final = "|".join(
    re.escape(variable_of(name))
    for name in Settings.variable_fields()
    if name not in WORKERS_SECRETS
)
_ALLOWED: Final[Mapping[Role, re.Pattern[str]]] = {
    "redis": _pattern(_MACHINE),
    "simulator": _pattern(_MACHINE),
    "worker": _pattern(_MACHINE, _WORKER),
    "flower": _pattern(_MACHINE, _SHARED, "VISIONQ_FLOWER_.*", "FLOWER_.*"),
    "gateway": _pattern(_MACHINE, _SHARED, "VISIONQ_GATEWAY_.*"),
    "exporter": _pattern(_MACHINE, _SHARED),
}


def environment_for(role: Role, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of `up`'s environment that a process of this role gets."""
    allowed = _ALLOWED[role]
    return {
        name: value
        for name, value in environment.items()
        if name.upper() not in _DECIDED and allowed.fullmatch(name)
    }


#: In place of a key where the simulator answers. Nobody else would accept it.
SIMULATED_KEY: Final = "simulated-no-key"
#: Roles that ask no Redis.
_STANDALONE: Final = frozenset({"redis", "simulator"})
_COMMAND: Final = python_command("visionq.cli")
_SHORT_PATIENCE: Final = 3.0
_REDIS_PATIENCE: Final = 5.0


@dataclass(frozen=True)
class StackPlan:
    """Everything decided before the first process starts."""

    data_dir: Path
    #: Whether the directory goes at the end.
    passing: bool
    workers: int
    concurrency: int
    redis: RedisConfig
    #: None: the provider of `base_url` answers, and is paid.
    simulator_port: int | None
    base_url: str
    #: None where the simulator answers.
    api_key: str | None
    flower_port: int
    flower_user: str
    flower_password: str
    gateway_port: int
    gateway_key: str
    exporter_port: int
    #: Seconds that a worker gets to finish its calls.
    worker_patience: float
    environment: Mapping[str, str]
    #: By which `up` knows its own children from other programs on their ports.
    nonce: str

    @property
    def simulator_url(self) -> str | None:
        """Root URL of the simulator, if there is one."""
        return f"http://127.0.0.1:{self.simulator_port}" if self.simulator_port else None

    @property
    def provider_url(self) -> str:
        """Address of the API called by the workers."""
        return f"{self.simulator_url}/openai/v1" if self.simulator_url else self.base_url

    @property
    def flower_url(self) -> str:
        """Address of Flower, without its credentials."""
        return f"http://127.0.0.1:{self.flower_port}"

    @property
    def gateway_url(self) -> str:
        """Root of the gateway; OpenAI's clients want `/v1` after it."""
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def metrics_url(self) -> str:
        """Return the address that Prometheus scrapes."""
        return f"http://127.0.0.1:{self.exporter_port}/metrics"

    def child_environment(self, role: Role, **extra: str) -> dict[str, str]:
        """Return the environment of a child, with the stack's own addresses."""
        stack = {} if role in _STANDALONE else {"VISIONQ_REDIS_URL": self.redis.url}
        if role == "worker":
            stack["PROXYAPI_BASE_URL"] = self.provider_url
            if self.simulator_url:
                stack["VISIONQ_PROVIDER"] = "proxyapi"  # whose dialect the simulator speaks
        return environment_for(role, self.environment) | stack | extra | {STACK_NONCE: self.nonce}


def redis_spec(plan: StackPlan) -> Spec:
    """Return the process of the ledger's Redis."""
    return Spec(
        name=TITLE,
        role="redis",
        command=redis_command(plan.redis, find_redis()),
        environment=plan.child_environment("redis"),
        log=plan.data_dir / "redis.log",
        is_ready=lambda: redis_is_ready(plan.redis.url),
        patience=_REDIS_PATIENCE,
    )


def _service(
    plan: StackPlan, role: Role, port: int, command: tuple[str, ...], **extra: str
) -> Spec:
    """Return a service with a health page; its secrets are environment variables."""
    return Spec(
        name=f"visionq-{role}",
        role=role,
        command=(*command, "--port", str(port)),
        environment=plan.child_environment(role, **extra),
        log=plan.data_dir / f"{role}.log",
        is_ready=lambda: answers(port, "/healthz", plan.nonce),
        patience=_SHORT_PATIENCE,
    )


def simulator_specs(plan: StackPlan) -> list[Spec]:
    """Return the simulator, or nothing with the real provider."""
    if plan.simulator_port is None:
        return []
    command = (*python_command("visionq.devstack.simulator"), "--name", "visionq-simulator")
    return [_service(plan, "simulator", plan.simulator_port, command)]


def worker_specs(plan: StackPlan) -> list[Spec]:
    """Return the worker processes; they are ready when all have registered."""
    key = plan.api_key or SIMULATED_KEY
    known = registrations(plan.redis.url)
    options = ("worker", "--concurrency", str(plan.concurrency), "--name")

    def are_registered() -> bool:
        now = registrations(plan.redis.url)
        # An entry of an earlier life lapses at a time that no longer moves.
        alive = [worker for worker, lapse in now.items() if lapse > known.get(worker, 0)]
        return len(alive) >= plan.workers

    return [
        Spec(
            name=f"visionq-worker-{number}",
            role="worker",
            command=(*_COMMAND, *options, f"visionq-worker-{number}"),
            environment=plan.child_environment(
                "worker",
                PROXYAPI_API_KEY=key,
                # Nobody else uses a Redis that was started for this stack alone.
                VISIONQ_CONSUME_DEFAULT_QUEUE=plan.environment.get(
                    "VISIONQ_CONSUME_DEFAULT_QUEUE", "1"
                ),
            ),
            log=plan.data_dir / f"worker-{number}.log",
            is_ready=are_registered,
            patience=plan.worker_patience,
        )
        for number in range(1, plan.workers + 1)
    ]


def flower_spec(plan: StackPlan) -> Spec:
    """Return the process of Flower."""
    database = str(plan.data_dir / "visionq-flower")
    return _service(
        plan,
        "flower",
        plan.flower_port,
        (*_COMMAND, "flower", "--database", database),
        VISIONQ_FLOWER_PASSWORD=plan.flower_password,
        VISIONQ_FLOWER_URL_PREFIX="",
    )


def gateway_spec(plan: StackPlan) -> Spec:
    """Return the HTTP gateway."""
    files = ("--files-dir", str(plan.data_dir / "files"))
    command = (*_COMMAND, "gateway", "--name", "visionq-gateway", "--address", "127.0.0.1", *files)
    key = plan.gateway_key
    return _service(plan, "gateway", plan.gateway_port, command, VISIONQ_GATEWAY_KEY=key)


def exporter_spec(plan: StackPlan) -> Spec:
    """Return the exporter of metrics."""
    command = (*_COMMAND, "exporter", "--name", "visionq-exporter", "--address", "127.0.0.1")
    return _service(plan, "exporter", plan.exporter_port, command)


def registrations(redis_url: str) -> dict[bytes, float]:
    """Return worker id → when its registration lapses (ms), as the ledger has them."""
    with redis.Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=5) as client:
        entries = client.zrange(names.WORKERS, 0, -1, withscores=True)
    return {bytes(worker): float(lapse) for worker, lapse in entries}


def answers(port: int, path: str, nonce: str | None = None) -> bool:
    """Return whether the service with this nonce answers a GET on 127.0.0.1 with 200.

    No proxy is asked.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    else:
        is_ours = nonce is None or reply.getheader(STACK_HEADER) == nonce
        return reply.status == http.HTTPStatus.OK and is_ours
    finally:
        connection.close()
