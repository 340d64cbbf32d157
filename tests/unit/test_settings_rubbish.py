"""A variable of any content is used as it was meant, or refused by name."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.gateway.gateway_settings import GatewaySettings, load_gateway_settings
from visionq import cli
from visionq.redis_url import parse_redis_url
from visionq.settings import ConfigurationError, Settings, load_settings, variable_of

VARIABLES = sorted(
    [variable_of(name) for name in Settings.variable_fields()]
    + [f"VISIONQ_GATEWAY_{name.upper()}" for name in GatewaySettings.variable_fields()]
)
UGLY = (
    "x", "foo", "-1", "0", "1e999", "nan", "inf", "9" * 400, "true", "[]", "{}", '{"a": 1}',
    "null", "http://", "https://[", "redis://h:99999", "redis://h/abc", "redis://h/1?db=2",
    "redis://h?health_check_interval=30", "kafka://x", "file://relative", "UTC+3", "MSK",
    "Europe/Moskva", "../etc/passwd", "ключ", "a b", "a\tb", "🦊", "\ud800", "whsec_!",
    "example.com/", "https://cdn.example.org", "*", "/dev/null", "sk-1\n", "١٢",
    "0x10", "1_000", "+5",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("VISIONQ_", "PROXYAPI_")):
            monkeypatch.delenv(name)


def load_with(variable: str, value: str) -> str | None:
    """Return what is reported of the variable, or None where its value is taken."""
    # As bytes: an environment holds what is no text, too.
    os.environb[variable.encode()] = value.encode("utf-8", "surrogatepass")
    try:
        if variable.startswith("VISIONQ_GATEWAY_"):
            load_gateway_settings()
        else:
            load_settings()
    except ConfigurationError as error:
        return error.message
    finally:
        del os.environ[variable]
    return None


@pytest.mark.parametrize("variable", VARIABLES)
def test_ugly_values(variable: str) -> None:
    """No value ends in anything but its use, or one line that begins with the variable's name."""
    for value in UGLY:
        said = load_with(variable, value)
        assert said is None or said.startswith(f"{variable}: "), (value, said)


@given(st.sampled_from(VARIABLES), st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_value(variable: str, value: str) -> None:
    """The same for any text."""
    said = load_with(variable, value)
    assert said is None or said.startswith(f"{variable}: ")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("VISIONQ_TIME_ZONE", "UTC+3", "Etc/GMT-3"),
        ("VISIONQ_TIME_ZONE", "Europe/Moskva", "no such time zone"),
        ("VISIONQ_ALERT_SECRET", "not base64!", "base64"),
        ("VISIONQ_ALERT_URL", "foo", "https://"),
        ("VISIONQ_ALLOWED_HOSTS", "https://cdn.example.org", "by name"),
        ("VISIONQ_BLOB_URL", "file://relative/path", "file:///absolute/path"),
        ("VISIONQ_BLOB_URL", "ftp://x", "s3://"),
        ("VISIONQ_BROKER_URL", "kafka://x", "amqp://"),
        ("PROXYAPI_BASE_URL", "api.proxyapi.ru/openai/v1", "https://"),
        ("PROXYAPI_API_KEY", "sk-ключ", "ASCII"),
        ("PROXYAPI_API_KEY", "sk-a\nb", "ASCII"),
        ("PROXYAPI_API_KEY", "  ", "ASCII"),
        ("VISIONQ_REDIS_URL", "redis://h/abc", "the database is a number"),
        ("VISIONQ_REDIS_URL", "redis://h/1?db=2", "different databases"),
        ("VISIONQ_REDIS_URL", "redis://h?health_check_interval=30", "is not taken"),
        ("VISIONQ_REDIS_URL", "redis://h:0", "the port"),
        ("VISIONQ_REDIS_URL", "redis://:p#w@h", "%23"),
        ("VISIONQ_RESULT_TTL", "9999999999", "must be at most"),
        ("VISIONQ_REQUEST_TIMEOUT", "inf", "must be at most"),
        ("VISIONQ_LOW_BALANCE_RUB", "NaN", "finite"),
        ("VISIONQ_MAX_IMAGE_BYTES", "9" * 30, "at most"),
    ],
)
def test_every_command_refuses(
    variable: str,
    value: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A value that can't be used ends a command with exit code 2 and one line that says why."""
    monkeypatch.setenv(variable, value)
    for command in (["status"], ["doctor"], ["jobs", "list"], ["quote", "x.csv", "-p", "?"]):
        assert cli.run(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert variable in said
        assert says in said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("redis://h", "redis://h/0"),
        ("redis://h/", "redis://h/0"),
        ("redis://h:6380/03", "redis://h:6380/3"),
        ("redis://h?db=3", "redis://h/3"),
        ("redis://h/3?db=3", "redis://h/3"),
        ("REDIS://u:p%40@h", "redis://u:p%40@h/0"),
        ("rediss://h?ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=none"),
        ("unix:///run/r.sock", "unix:///run/r.sock"),
        ("unix:///run/r.sock?db=0", "unix:///run/r.sock"),
        ("unix:///run/r.sock?db=4", "unix:///run/r.sock?db=4"),
    ],
)
def test_one_spelling_of_redis(given: str, read: str) -> None:
    """However an address of Redis is written, producers and workers read the same database."""
    assert parse_redis_url(given) == read
    assert parse_redis_url(read) == read
