"""Which options of a request each model takes, and what is refused before anything is paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.cache_key import cache_key
from visionq.contract import Detail, JobDocument, parse_job
from visionq.errors import ConfigurationError, InvalidJob
from visionq.pricing.model_options import check_model_options, load_option_table
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.settings import Settings
from visionq.submission import defaulted, prepare

if TYPE_CHECKING:
    from pathlib import Path

TABLE: Final = load_option_table()
SETTINGS: Final = Settings(default_max_output_tokens=2000)
MODELS: Final = sorted(model for row in TABLE.models for model in row.models)
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
URL: Final = {"url": "https://example.com/a.png"}
TEXT: Final = """\
[[effort]]
name = "low"
tokens = 9
room = 90
source = "measured"
date = 2026-11-01

[[model]]
name = "own"
models = ["own-model"]
efforts = ["low", "high"]
default_effort = "high"
temperature = "never"
structured_outputs = false
source = "our own"
date = 2026-11-01
"""


def job(**fields: Any) -> dict[str, Any]:
    return {"prompt": "What?", "images": [URL], "model": "gpt-6-luna", **fields}


def test_every_known_model_has_its_row() -> None:
    """A model that has a price, or known rules for pictures, says which options it takes."""
    priced = {price.model for price in load_prices().prices}
    seen = {model for family in load_rules().families for model in family.models}
    assert (priced | seen) - set(MODELS) - {"computer-use-preview"} == set()


def test_every_effort_has_its_row() -> None:
    """Each effort that a model takes says what it means for forecasts, more for each higher one."""
    rows = {row.name: row for row in TABLE.efforts}
    assert {effort for row in TABLE.models for effort in row.efforts} <= rows.keys()
    for row in TABLE.models:
        costs = [(rows[effort].tokens, rows[effort].room) for effort in row.efforts]
        assert costs == sorted(set(costs)), row.name


@given(st.sampled_from(MODELS), st.sampled_from(EFFORTS))
def test_efforts(model: str, effort: str) -> None:
    """An effort is taken by the models whose row lists it, and refused by name by all others."""
    row = TABLE.for_model(model)
    assert row is not None
    fields = job(model=model, effort=effort)
    if effort in row.efforts:
        assert prepare(fields, SETTINGS).effort == effort
        return
    with pytest.raises(InvalidJob, match=rf"effort: {model} takes .*not '{effort}'"):
        prepare(fields, SETTINGS)


@given(st.sampled_from(MODELS), st.sampled_from(("least", "provider", *EFFORTS)))
def test_default_effort(model: str, default: str) -> None:
    """If a job names none, the settings decide, and never for what the model does not take."""
    settings = SETTINGS.model_copy(update={"default_effort": default})
    row, made = TABLE.for_model(model), prepare(job(model=model), settings)
    assert row is not None
    if default == "provider" or not row.efforts:
        assert made.effort is None
    else:
        assert made.effort == (default if default in row.efforts else row.efforts[0])
    check_model_options(made, TABLE)


@pytest.mark.parametrize(
    ("model", "effort"),
    [("gpt-6-luna", "none"), ("gpt-5-mini", "minimal"), ("o3", "low"), ("gpt-4o-mini", None)],
)
def test_the_least_is_the_default(model: str, effort: str | None) -> None:
    """Without settings the least effort counts, and a snapshot goes by its model."""
    assert prepare(job(model=model), Settings()).effort == effort
    assert prepare(job(model=f"{model}-2026-01-01"), Settings()).effort == effort


@pytest.mark.parametrize("default", ["turbo", "None", "leas"])
def test_a_default_that_is_none(default: str) -> None:
    """An operator's slip is named with its variable, and never read as another effort."""
    settings = Settings.model_construct(default_effort=default)
    with pytest.raises(ConfigurationError, match=f"VISIONQ_DEFAULT_EFFORT: '{default}'.* least, "):
        prepare(job(), settings)


def test_models_without_reasoning_keep_their_keys() -> None:
    """A question from before there were efforts is still the same question."""
    made = prepare(job(model="gpt-4o-mini"), SETTINGS)
    assert {"effort", "prompt_cache"}.isdisjoint(made.model_dump(exclude_defaults=True))
    plain = parse_job(job(model="gpt-4o-mini", max_output_tokens=2000))
    assert cache_key(made, ["0" * 64]) == cache_key(plain, ["0" * 64])


def test_an_unknown_model_takes_what_it_is_given() -> None:
    """Nothing is known of it, so nothing is refused and nothing added."""
    assert prepare(job(model="another"), SETTINGS).effort is None
    fields = job(model="another", effort="ultra", temperature=1)
    assert prepare(fields, SETTINGS).effort == "ultra"


@given(
    st.sampled_from(EFFORTS),
    st.sampled_from(["reasoning", "reasoning_effort", "both"]),
    st.sampled_from([{}, {"summary": "auto"}]),
)
def test_an_effort_in_the_words_of_the_provider(
    effort: str, where: str, reasoning: dict[str, str]
) -> None:
    """It is the same question, however it was put, and what else was asked is kept."""
    extra: dict[str, Any] = {"seed": 1}
    if where != "reasoning_effort":
        extra["reasoning"] = {**reasoning, "effort": effort}
    if where != "reasoning":
        extra["reasoning_effort"] = effort
    kept = reasoning if where != "reasoning_effort" else {}
    rest = {"seed": 1, "reasoning": kept} if kept else {"seed": 1}
    wanted = parse_job(job(effort=effort, extra_body=rest))
    assert parse_job(job(extra_body=extra)) == wanted
    assert parse_job(job(extra_body=extra, effort=effort)) == wanted
    assert JobDocument.model_validate_json(wanted.to_compact_json()) == wanted
    assert "effort" not in defaulted(job(extra_body=extra))


@pytest.mark.parametrize(
    "fields",
    [
        {"effort": "high", "extra_body": {"reasoning": {"effort": "low"}}},
        {"effort": "high", "extra_body": {"reasoning_effort": "low"}},
        {"extra_body": {"reasoning_effort": 3}},
        {"extra_body": {"reasoning": {"effort": ["low"]}}},
        {"extra_body": {"reasoning_effort": "low", "reasoning": {"effort": "high"}}},
    ],
)
def test_two_efforts(fields: dict[str, Any]) -> None:
    """Two that differ, or one that is none, are refused with the field that says it."""
    with pytest.raises(InvalidJob, match=r"extra_body: .*effort.* use the field `effort`"):
        prepare(job(**fields), SETTINGS)


def test_reasoning_has_room() -> None:
    """An answer without a limit of its own has as much for reasoning as its effort asks for."""
    limits = [prepare(job(effort=effort), SETTINGS).max_output_tokens for effort in ("none", "low")]
    assert limits == [2000, 4000]
    assert prepare(job(effort="high", max_output_tokens=99), SETTINGS).max_output_tokens == 99
    by_itself = SETTINGS.model_copy(update={"default_effort": "provider"})
    assert prepare(job(), by_itself).max_output_tokens == 8000
    most = Settings(default_max_output_tokens=1_000_000)
    assert prepare(job(effort="max"), most).max_output_tokens == 1_000_000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0, "effort": "low"}, "temperature: gpt-6-luna takes one only without"),
        ({"temperature": 0, "model": "gpt-5-mini"}, "temperature: gpt-5-mini takes none"),
    ],
)
def test_what_a_model_does_not_take(fields: dict[str, Any], message: str) -> None:
    """An option that the provider would refuse is refused by name before."""
    with pytest.raises(InvalidJob, match=message):
        prepare(job(**fields), SETTINGS)


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "google/gemini-3.8-flash-001"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"detail": "low"}, "detail: {model} takes none: leave it out, or set it to auto"),
        ({"effort": "max"}, "effort: {model} takes "),
        ({"service_tier": "flex"}, "service_tier: flex has no price for {model} .*choose one"),
        (
            {"prompt_cache": "instructions"},
            "prompt_cache: {model} takes only implicit: leave",
        ),
        ({"prompt_cache_ttl": "30m"}, "prompt_cache_ttl: {model} takes none: leave it out"),
    ],
)
def test_what_models_of_other_vendors_do_not_take(
    model: str, fields: dict[str, Any], message: str
) -> None:
    """Each option is refused by its name, with what to do, before anything is paid."""
    with pytest.raises(InvalidJob, match=message.format(model=model)):
        prepare(job(model=model, **fields), SETTINGS)
    assert prepare(job(model=model), SETTINGS).detail == "auto"


def test_a_schema_for_claude() -> None:
    """Anthropic's address of OpenAI's form ignores schemas: paid answers would not follow it."""
    schema = {"type": "object", "properties": {}}
    with pytest.raises(InvalidJob, match="answer_schema: anthropic/claude-haiku-4-5 takes no JSON"):
        prepare(job(model="anthropic/claude-haiku-4-5", answer_schema=schema), SETTINGS)
    prepare(job(model="google/gemini-3.8-flash", answer_schema=schema), SETTINGS)


def test_models_without_detail_are_told_apart_alike() -> None:
    """Options and picture rules agree on which models take a `detail`."""
    for family in load_rules().families:
        for model in family.models:
            row = TABLE.for_model(model)
            if row is not None:
                assert row.detail == (family.details != (Detail.AUTO,)), model


def test_what_a_model_takes() -> None:
    """A temperature without reasoning, and a tier that is known."""
    assert prepare(job(temperature=0.5), SETTINGS).effort == "none"
    assert prepare(job(service_tier="flex"), SETTINGS).service_tier == "flex"
    assert prepare(job(model="gpt-4o-mini", temperature=0), SETTINGS).temperature == 0


def test_own_table(tmp_path: Path) -> None:
    """An operator's file is the whole table."""
    file = tmp_path / "options.toml"
    file.write_text(TEXT, encoding="utf-8")
    own = SETTINGS.model_copy(update={"options_file": file})
    made = prepare(job(model="own-model"), own)
    assert (made.effort, made.max_output_tokens) == ("low", 2090)
    with pytest.raises(InvalidJob, match="answer_schema: own-model takes no JSON Schema"):
        prepare(job(model="own-model", answer_schema={"type": "object"}), own)
    assert prepare(job(effort="minimal"), own).effort == "minimal"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"high"\ntemp', '"max"\ntemp', "model 1 (own): default_effort: max is none of efforts"),
        ('["low", "high"]', "[]", "model 1 (own): default_effort belongs to a model that takes"),
        ('"never"', '"sometimes"', ", line 13: model 1 (own): temperature: "),
        ('["own-model"]', '["a", "openai/a"]', ": a is listed twice"),
        ("tokens = 9", "tokens = -9", ", line 3: effort 1 (low): tokens: "),
        ('name = "low"', 'name = "Low!"', ", line 2: effort 1 (Low!): name: "),
    ],
)
def test_a_table_that_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    """It is refused whole, with file, row and field."""
    file = tmp_path / "options.toml"
    assert old in TEXT
    file.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load_option_table(file)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)
