"""Proxies and certificates of the environment: used, or refused by the variable's name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.http_checks import prepare_http_environment
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

PROXIES = ("HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def builds(environment: dict[str, str]) -> bool:
    """Return whether the HTTP client takes this environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.lower().endswith("_proxy") or name.startswith("SSL_CERT"):
                patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        httpx2.Client(trust_env=True).close()
    return True


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("socks://127.0.0.1:1080", "socks5://127.0.0.1:1080"),
        ("socks5://user:pass@127.0.0.1:1080/", "socks5://user:pass@127.0.0.1:1080/"),
        ("socks5h://127.0.0.1:1080", "socks5h://127.0.0.1:1080"),
        ("http://proxy:3128", "http://proxy:3128"),
        ("proxy:3128", "proxy:3128"),
        ("", ""),
    ],
)
def test_proxies_are_used(name: str, given: str, read: str) -> None:
    """Exports of VPN clients and administrators work, SOCKS in its loose spelling too."""
    environment = {name: given}
    prepare_http_environment(environment)
    assert environment == {name: read}
    assert builds(environment)


@pytest.mark.parametrize(
    "value", ["socks4://127.0.0.1:1080", "ftp://x", "https://", "http://h:x", "a b"]
)
def test_proxies_that_can_not_be_used(value: str) -> None:
    """Another kind of proxy is refused by the variable's name, without its password."""
    with pytest.raises(ConfigurationError, match="ALL_PROXY: a proxy is given as") as raised:
        prepare_http_environment({"ALL_PROXY": value})
    assert value not in raised.value.message


@given(st.sampled_from(PROXIES), st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_proxy(name: str, value: str) -> None:
    """A proxy variable of any content is taken by the client, or refused before."""
    environment = {name: value}
    try:
        prepare_http_environment(environment)
    except ConfigurationError as refusal:
        said = refusal.message
    else:
        said = f"{name}: taken" if builds(environment) else ""
    assert said.startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there(name: str, tmp_path: Path) -> None:
    """A path to certificates that leads nowhere is refused by the variable's name."""
    with pytest.raises(ConfigurationError, match=f"{name}: .* is not there"):
        prepare_http_environment({name: str(tmp_path / "nowhere")})
