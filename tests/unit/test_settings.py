"""Settings: what the environment says, and what is reported of an environment that is wrong."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from visionq.settings import REMOVED, ConfigurationError, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Nothing is set but what the test sets."""
    for name in os.environ:
        if name.startswith(("VISIONQ_", "PROXYAPI_")):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


@pytest.mark.usefixtures("environment")
def test_defaults() -> None:
    """With an empty environment nothing is sent to the internet and everything has a value."""
    settings = load_settings()
    assert settings.api_key is None
    assert settings.redis_url is None
    assert settings.result_ttl == 7 * 24 * 3600
    assert settings.allowed_hosts == ()
    assert not settings.allow_private_urls


def test_reads_both_prefixes(environment: Callable[[str, str], None]) -> None:
    """The provider's variables begin with PROXYAPI_, all others with VISIONQ_."""
    environment("PROXYAPI_API_KEY", "sk-1")
    environment("PROXYAPI_BASE_URL", "https://elsewhere.example/openai/v1")
    environment("VISIONQ_REDIS_URL", "redis://:secret@127.0.0.1/0")
    environment("VISIONQ_ALLOW_PRIVATE_URLS", "1")
    settings = load_settings()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "sk-1"
    assert settings.base_url == "https://elsewhere.example/openai/v1"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:secret@127.0.0.1/0"
    assert settings.allow_private_urls


def test_hosts_are_separated_by_commas(environment: Callable[[str, str], None]) -> None:
    """Several hosts are in one variable."""
    environment("VISIONQ_ALLOWED_HOSTS", "a.example, b.example,")
    assert load_settings().allowed_hosts == ("a.example", "b.example")


def test_ranges_and_the_user_agent_are_checked(environment: Callable[[str, str], None]) -> None:
    """Ranges are in one variable; a wrong range or header is refused by the variable's name."""
    environment("VISIONQ_TRUSTED_RANGES", "198.18.0.0/15, fd00:64::/96")
    environment("VISIONQ_USER_AGENT", "shop (mail@example.org)")
    settings = load_settings()
    assert settings.trusted_ranges == ("198.18.0.0/15", "fd00:64::/96")
    assert settings.user_agent == "shop (mail@example.org)"
    for variable, wrong in (
        ("VISIONQ_TRUSTED_RANGES", "198.18.0.1/15"),
        ("VISIONQ_TRUSTED_RANGES", "example.org"),
        ("VISIONQ_USER_AGENT", "shop\r\nX-Token: 1"),
        ("VISIONQ_USER_AGENT", "магазин"),
    ):
        environment(variable, wrong)
        with pytest.raises(ConfigurationError, match=variable):
            load_settings()
        environment(variable, "198.18.0.0/15" if variable.endswith("RANGES") else "shop")


def test_headers_of_hosts_are_json(environment: Callable[[str, str], None]) -> None:
    """Headers for hosts are as JSON in one variable, and are never shown."""
    environment("VISIONQ_HOST_HEADERS", '{"cdn.example.org": {"X-Token": "hush"}}')
    settings = load_settings()
    assert settings.host_headers is not None
    assert settings.host_headers["cdn.example.org"]["X-Token"].get_secret_value() == "hush"
    assert "hush" not in repr(settings)
    for wrong in ('{"hush"', '["hush"]', '{"a": "hush"}'):
        environment("VISIONQ_HOST_HEADERS", wrong)
        with pytest.raises(ConfigurationError, match="VISIONQ_HOST_HEADERS") as caught:
            load_settings()
        assert "hush" not in str(caught.value)


def test_empty_is_unset(environment: Callable[[str, str], None]) -> None:
    """A variable that is set to nothing counts as not set, as in an env file."""
    environment("VISIONQ_RESULT_TTL", "")
    environment("PROXYAPI_API_KEY", "")
    settings = load_settings()
    assert settings.result_ttl == 7 * 24 * 3600
    assert settings.api_key is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VISIONQ_RESULT_TTL", "soon"),
        ("VISIONQ_RESULT_TTL", "1"),
        ("VISIONQ_LEASE", "0"),
        ("VISIONQ_LOG_LEVEL", "LOUD"),
        ("VISIONQ_ALLOW_PRIVATE_URLS", "perhaps"),
    ],
)
def test_names_the_variable(environment: Callable[[str, str], None], name: str, value: str) -> None:
    """A wrong value is reported with the name of its variable, without the value."""
    environment(name, value)
    with pytest.raises(ConfigurationError, match=f"^configuration: {name}: ") as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{", "VISIONQ_LIMITS: not JSON"),
        ('{"m": {"rpm": 5}}', "VISIONQ_LIMITS: m.rpm: "),
        ('{"m": {"requests_per_minute": -1}}', "VISIONQ_LIMITS: m.requests_per_minute: "),
        ('{"bad model": {}}', "VISIONQ_LIMITS: 'bad model' is not the name of a model"),
    ],
)
def test_limits_that_are_wrong(
    environment: Callable[[str, str], None], value: str, told: str
) -> None:
    """The model and the kind of limit that is wrong are named."""
    environment("VISIONQ_LIMITS", value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"configuration: {told}")


def test_secrets_are_not_shown(environment: Callable[[str, str], None]) -> None:
    """Neither the key nor the addresses with their passwords are shown by repr or by an error."""
    environment("PROXYAPI_API_KEY", "sk-very-secret")
    environment("VISIONQ_REDIS_URL", "redis://:very-secret@127.0.0.1/0")
    environment("VISIONQ_BROKER_URL", "redis://:very-secret@127.0.0.1/1")
    assert "very-secret" not in repr(load_settings())


@pytest.mark.parametrize("name", sorted(REMOVED))
def test_variables_that_are_gone(environment: Callable[[str, str], None], name: str) -> None:
    """A variable that is gone is refused in one line that says what to do; empty, it is unset."""
    environment(name, "1")
    with pytest.raises(ConfigurationError, match=f"^configuration: {name}: is gone; ") as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    environment(name, "")
    load_settings()


def test_constants_are_no_variables(environment: Callable[[str, str], None]) -> None:
    """No variable sets a constant, and code may; failed jobs outlive results."""
    environment("visionq_max_attempts", "3")
    environment("VISIONQ_RESULT_TTL", "100")
    settings = load_settings()
    assert (settings.max_attempts, settings.failed_ttl) == (10, 200)
    assert Settings(max_attempts=3).max_attempts == 3


def test_frozen() -> None:
    """Settings don't change once they are read."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings(), "lease", 3)  # noqa: B010  # the type checker refuses it already
