from __future__ import annotations

import base64

import pytest
from pydantic import ValidationError

from monitoring.flower.flower_settings import FlowerSettings
from monitoring.flower.guests import user_of


@pytest.mark.parametrize(
    ("given", "used"),
    [("", ""), ("/", ""), ("flower", "/flower"), ("/a/b/", "/a/b")],
)
def test_url_prefix(monkeypatch: pytest.MonkeyPatch, given: str, used: str) -> None:
    """A prefix begins with a slash and ends without one, however it was written."""
    monkeypatch.setenv("VISIONQ_FLOWER_URL_PREFIX", given)
    assert FlowerSettings().url_prefix == used


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL_PREFIX", "a b"),
        ("URL_PREFIX", "(.*)"),
        ("PASSWORD", "пароль"),
        ("GUEST_PASSWORD", "пароль"),
    ],
)
def test_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A setting that would open no door, or the wrong one, is refused."""
    monkeypatch.setenv(f"VISIONQ_FLOWER_{name}", value)
    with pytest.raises(ValidationError):
        FlowerSettings()


def test_no_guests_without_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are guests only when someone gave them a password."""
    assert FlowerSettings().guest_login is None
    monkeypatch.setenv("VISIONQ_FLOWER_GUEST_PASSWORD", "look")
    assert FlowerSettings().guest_login == "guest:look"


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        ("Basic " + base64.b64encode(b"guest:a:b").decode(), "guest"),
        ("Basic " + base64.b64encode(b"\xff:x").decode(), None),
        ("Basic a", None),
        ("Bearer Z3Vlc3Q6", None),
        ("", None),
    ],
)
def test_user_of(authorization: str, user: str | None) -> None:
    """A request names its user by HTTP's basic authentication or not at all."""
    assert user_of(authorization) == user
