"""Keys of the gateway: made once, hashed, revoked; and where none are needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from producer.gateway.access import digest_of
from producer.gateway.gateway_command import _own_keys, keys
from producer.gateway.gateway_settings import GatewaySettings, load_gateway_settings
from visionq.names import GATEWAY_KEYS
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from redis import Redis

OPEN_ADDRESS = "0.0.0.0"  # noqa: S104  # what must be refused


@pytest.fixture(autouse=True)
def _address(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(keys, arguments)
    assert done.exception is None, done.output
    return done.stdout


def test_a_key_is_shown_once_and_stored_hashed(redis: Redis) -> None:
    """Redis and the list know tenant, name and scopes of a key, and nothing by which to use it."""
    made = json.loads(
        run("create", "--tenant", "shop", "--name", "site", "--scope", "read", "--json")
    )
    stored: dict[bytes, bytes] = redis.hgetall(GATEWAY_KEYS)  # type: ignore[assignment]
    assert list(stored) == [digest_of(made["key"]).encode()]
    assert made["key"].encode() not in next(iter(stored.values()))
    (listed,) = json.loads(run("list", "--json"))
    assert "key" not in listed
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["tenant"], listed["name"], listed["scopes"]) == ("shop", "site", ["read"])


def test_revoking() -> None:
    """A revoked key is gone; one that is not known fails the command."""
    made = json.loads(run("create", "--json"))
    assert json.loads(run("revoke", made["id"], "--json")) == {"id": made["id"], "revoked": True}
    assert json.loads(run("list", "--json")) == []
    # Outside the group `visionq`, click hands the exit code to nobody.
    assert json.loads(run("revoke", made["id"], "--json"))["revoked"] is False


def test_tenants_have_the_names_that_jobs_know() -> None:
    """A tenant that no job could name is refused."""
    done = CliRunner().invoke(keys, ["create", "--tenant", "a:b"])
    assert done.exit_code == 2
    assert "--tenant" in done.output


def test_strangers_need_a_key(redis_url: str) -> None:
    """Beyond loopback the gateway does not listen while there is no key."""
    settings = GatewaySettings(address=OPEN_ADDRESS)
    with pytest.raises(ConfigurationError, match="visionq keys create"):
        _own_keys(settings, redis_url)
    run("create")
    assert _own_keys(settings, redis_url) == {}


def test_loopback_gets_a_key_of_its_own(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On loopback a key is made up for the run and shown, and is not kept."""
    (digest,) = _own_keys(GatewaySettings(), redis_url)
    secret = capsys.readouterr().err.split()[-1]
    assert digest_of(secret) == digest
    assert json.loads(run("list", "--json")) == []


def test_a_short_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that could be guessed is refused by the name of its variable."""
    monkeypatch.setenv("VISIONQ_GATEWAY_KEY", "short")
    with pytest.raises(ConfigurationError, match="VISIONQ_GATEWAY_KEY"):
        load_gateway_settings()
