"""The page on retention speaks of everything that is kept, and of settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from producer.gateway.gateway_settings import GatewaySettings
from visionq import names
from visionq.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "retention.md").read_text("utf-8")
TABLE = [line for line in PAGE.splitlines() if line.startswith("| ")]
#: What is no key: the common beginning, a channel, and names that nothing writes to so far.
NO_KEYS = {names.PREFIX, names.SDK_WAKE}
KEYS = sorted(
    value
    for value in vars(names).values()
    if isinstance(value, str) and value.startswith(names.PREFIX) and value not in NO_KEYS
)


@pytest.mark.parametrize("key", [*KEYS, names.CELERY_RESULT])
def test_every_key_has_its_row(key: str) -> None:
    """A key that the code can write is in the table."""
    shown = re.escape(key.replace(names.PREFIX, "…"))
    assert re.search(f"`{shown}([^`a-z-][^`]*|ID|SHA256)?`", "\n".join(TABLE)), key


def test_settings_exist() -> None:
    """A setting that the page names can be set."""
    named = set(re.findall(r"VISIONQ_([A-Z_]+)", PAGE))
    of_the_gateway = {f"gateway_{name}" for name in GatewaySettings.variable_fields()}
    assert {name.lower() for name in named} <= {*Settings.variable_fields(), *of_the_gateway}
    assert {"RESULT_TTL", "ANSWER_TTL", "BLOB_GRACE", "BLOB_URL"} <= named
