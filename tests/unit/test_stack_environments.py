"""Every child of a stack gets what it has a use for, and no secret of another."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import SecretStr

from visionq.devstack.children import WORKERS_SECRETS, Role, environment_for
from visionq.settings import Settings, variable_of

#: Secrets of all kinds, and who alone may have each; none: `up` sets it itself, or nobody.
SECRETS = {
    "PROXYAPI_API_KEY": None,
    "VISIONQ_REDIS_URL": None,
    "VISIONQ_BROKER_URL": None,
    "VISIONQ_HOST_HEADERS": "worker",
    "visionq_host_headers": "worker",
    "VISIONQ_ALERT_URL": "worker",
    "VISIONQ_ALERT_SECRET": "worker",
    "VISIONQ_TRACES_URL": "worker",
    "VISIONQ_SENTRY_DSN": "worker",
    "OTEL_EXPORTER_OTLP_HEADERS": "worker",
    "HTTPS_PROXY": "worker",
    "VISIONQ_GATEWAY_KEY": "gateway",
    "VISIONQ_FLOWER_PASSWORD": "flower",
    "VISIONQ_FLOWER_GUEST_PASSWORD": "flower",
    "OPENAI_API_KEY": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "GITHUB_TOKEN": None,
    "CELERY_BROKER_URL": None,
    "REDISCLI_AUTH": None,
}


@pytest.mark.parametrize("role", get_args(Role))
def test_secrets_reach_who_needs_them(role: Role) -> None:
    """A secret goes to the one role that uses it, regardless of the case of its name."""
    told = environment_for(role, dict.fromkeys(SECRETS, "secret"))
    assert set(told) == {name for name, owner in SECRETS.items() if owner == role}


@pytest.mark.parametrize("role", get_args(Role))
def test_what_any_process_needs(role: Role) -> None:
    """The machine's own variables reach every child, settings those that read them."""
    machine = {"PATH": "/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": "/here"}
    settings = {"VISIONQ_DEFAULT_MODEL": "gpt-5.6-luna", "VISIONQ_RESULT_TTL": "60"}
    told = environment_for(role, machine | settings)
    assert told == (machine if role in {"redis", "simulator"} else machine | settings)


def test_every_secret_setting_is_known() -> None:
    """A setting that is a secret is for workers alone, or decided by `up`."""
    secret = {
        name for name, field in Settings.model_fields.items() if holds_secret(field.annotation)
    }
    assert secret == WORKERS_SECRETS | {"redis_url", "broker_url"}
    assert {variable_of(name) for name in secret} <= SECRETS.keys()


def holds_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(holds_secret, get_args(annotation)))
