"""Options of the command line that become fields of a job."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from producer.job_options import job_options, take_job_options
from visionq.contract import PictureOptions, parse_job


def taken(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    @click.command()
    @job_options
    def command(**options: Any) -> None:
        found.update(take_job_options(options))

    outcome = CliRunner().invoke(command, arguments)
    if outcome.exit_code:
        raise click.UsageError(outcome.output)
    parse_job({"prompt": "?", "images": [{"url": "https://example.com/a.png"}], **found})
    return found


def test_nothing_given_is_nothing_said() -> None:
    """Without options the job keeps its defaults."""
    assert taken() == {}


def test_every_option_of_pictures_can_be_given() -> None:
    """Each field of `PictureOptions` has an option."""
    flags = ["--first-frame", "--convert", "--shrink", "--flatten"]
    flags += [word for name in ("text", "logo", "watermark", "nsfw") for word in ("--reject", name)]
    flags += [word for name in ("blur", "blank", "dark", "tiny") for word in ("--off", name)]
    assert taken(*flags)["pictures"].keys() == PictureOptions.model_fields.keys()


def test_answers() -> None:
    """Reuse, repair, tier and temperature become fields of the job."""
    said = taken("--reuse", "off", "--no-repair", "--service-tier", "flex", "--temperature", "0.5")
    assert said == {"reuse": "off", "repair": False, "service_tier": "flex", "temperature": 0.5}


def test_two_policies_for_one_requirement() -> None:
    """What can't be meant is refused by name."""
    with pytest.raises(click.UsageError, match="two policies were given for 'text'"):
        taken("--reject", "text", "--warn", "text")
    assert taken("--warn", "text", "--warn", "text")["pictures"] == {"text": "warn"}
