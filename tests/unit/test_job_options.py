"""Options of the command line that become fields of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from producer.ask_command import ask
from producer.job_options import (
    COLUMN_PREFIX,
    OWN_FIELDS,
    column_names,
    job_options,
    take_job_options,
)
from producer.prompts import Prompt, job_fields
from producer.quote.quote_command import quote
from producer.run.run_command import run
from producer.sources import BadRow, Row, open_source
from visionq.contract import Animated, JobDocument, PictureOptions, Policy, parse_job
from visionq.errors import InvalidJob, InvalidSource
from visionq.settings import Settings
from visionq.submission import prepare

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = [{"url": "https://example.com/a.png"}]


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
    flags = ["--first-frame", "--convert", "--shrink", "--flatten", "--unterminated", "--crops"]
    flags += [word for name in ("text", "logo", "watermark", "nsfw") for word in ("--reject", name)]
    flags += [word for name in ("blur", "blank", "dark", "tiny") for word in ("--off", name)]
    assert taken(*flags)["pictures"].keys() == PictureOptions.model_fields.keys()


def test_answers() -> None:
    """Reuse, repair, tier and temperature become fields of the job."""
    said = taken("--reuse", "off", "--no-repair", "--service-tier", "flex", "--temperature", "0.5")
    assert said == {"reuse": "off", "repair": False, "service_tier": "flex", "temperature": 0.5}


#: Field of a job → its name on the command line.
_SAID: dict[str, tuple[str, ...]] = {
    "model": ("--model", "m1"),
    "instructions": ("--instructions", "Be brief."),
    "api": ("--api", "chat_completions"),
    "detail": ("--detail", "low"),
    "max_output_tokens": ("--max-output-tokens", "50"),
    "effort": ("--effort", "low"),
    "prompt_cache": ("--prompt-cache", "off"),
    "prompt_cache_ttl": ("--prompt-cache-ttl", "12h"),
    "temperature": ("--temperature", "0.5"),
    "service_tier": ("--service-tier", "flex"),
    "extra_body": ("--extra-body", '{"seed": 1}'),
    "repair": ("--no-repair",),
    "url_mode": ("--url-mode", "pass"),
    "tenant": ("--tenant", "shop"),
    "reuse": ("--reuse", "off"),
    "near": ("--near", "4"),
    "fallback": ("--fallback", "gpt-5-mini,gpt-6-sol"),
    "together": ("--together",),
    "on_unknown_billing": ("--on-unknown-billing", "hold"),
    "metadata": ("--metadata", '{"a": "b"}'),
    "deadline": ("--deadline", "2026-11-30T18:00"),
    "by": ("--by", "6h"),
    "lane": ("--lane", "online"),
}


def test_every_field_of_a_job_has_an_option_and_a_column(tmp_path: Path) -> None:
    """Every option of a job is on the command line and in the columns of a manifest."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    said = _SAID | {"answer_schema": ("--schema", str(schema))}
    assert said.keys() == JobDocument.model_fields.keys() - OWN_FIELDS
    for name, words in said.items():
        assert name in taken(*words), name
    columns = {name.removeprefix(COLUMN_PREFIX) for name in column_names()}
    assert columns == said.keys() | PictureOptions.model_fields.keys() | {"first_frame"}


@pytest.mark.parametrize("command", [ask, quote, run])
def test_every_command_has_every_option(command: click.Command) -> None:
    """`ask`, `quote` and `run` take the same options of a job."""
    names = {option for one in command.params for option in one.opts}
    assert {words[0] for words in _SAID.values()} | {
        "--schema",
        "--convert",
        "--first-frame",
    } <= names
    assert {"--shrink", "--flatten", "--reject", "--warn", "--off", "-p", "--prompt-file"} <= names


def test_a_manifest_sets_fields_of_its_rows(tmp_path: Path) -> None:
    """A column `visionq.…` goes before the option, an empty cell keeps it; a wrong one is named."""
    path = tmp_path / "goods.csv"
    path.write_text(
        "id;image;visionq.detail;visionq.convert;visionq.temperature;visionq.first_frame;"
        "visionq.text;visionq.extra_body\n"
        '1;a.jpg;low;да;0,5;1;reject;"{""seed"": 1}"\n'
        "2;a.jpg;;;;;;\n3;a.jpg;;maybe;;;;\n4;a.jpg;sharp;;;;;\n"
    )
    first, second, third, fourth = open_source(str(path)).rows()
    prompt, options = Prompt("What?"), {"detail": "high", "pictures": {"flatten": True}}
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert isinstance(fourth, Row)
    job = prepare(job_fields(first, prompt, options) | {"images": IMAGES}, Settings())
    assert (job.detail, job.temperature, job.extra_body) == ("low", 0.5, {"seed": 1})
    assert job.pictures == PictureOptions(
        animated=Animated.FIRST_FRAME, convert=True, flatten=True, text=Policy.REJECT
    )
    plain = prepare(job_fields(second, prompt, options) | {"images": IMAGES}, Settings())
    assert (plain.detail, plain.pictures) == ("high", PictureOptions(flatten=True))
    assert isinstance(third, BadRow)
    assert third.message == "line 4: visionq.convert: 'maybe' is neither yes nor no"
    with pytest.raises(InvalidJob, match="detail"):
        prepare(job_fields(fourth, prompt, options) | {"images": IMAGES}, Settings())
    path.write_text("image,visionq.sharpness\na.jpg,1\n")
    with pytest.raises(InvalidSource, match=r"visionq.sharpness.*there are: visionq\.instructions"):
        open_source(str(path))


def test_two_policies_for_one_requirement() -> None:
    """An impossible value is refused by name."""
    with pytest.raises(click.UsageError, match="two policies were given for 'text'"):
        taken("--reject", "text", "--warn", "text")
    assert taken("--warn", "text", "--warn", "text")["pictures"] == {"text": "warn"}
