"""Other sellers by a data file: taken whole, or refused with the place that is wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from visionq.cli import run
from visionq.errors import ConfigurationError
from visionq.providers import find_field, load_profile
from visionq.settings import Settings, load_settings
from worker.provider.checked_usage import ReportedCost, is_charged, read_cost
from worker.provider.refusal_rules import REFUSALS, TABLE, UNLISTED, find
from worker.provider.reply import ErrorFields, Where

if TYPE_CHECKING:
    from pathlib import Path

ROW = """\
[[provider]]
name = "ours"
base_url = "https://llm.example.org/v1"
authorization = "Api-Key"
balance = { path = "/v1/money", field = "data.left" }
refusals = { error = [401, 402, 429] }
cost = { field = "usage.cost", currency = "USD", rubles = "80.5" }
prices = "ours-prices.toml"
source = "our contract"
date = 2026-11-30
confirmed = true
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("PROXYAPI_BASE_URL", raising=False)
    return monkeypatch


def write(folder: Path, text: str) -> str:
    file = folder / "ours.toml"
    file.write_text(text, "utf-8")
    return str(file)


def test_a_profile_gives_address_and_prices(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Address and price file are the profile's, unless variables of their own say otherwise."""
    assert Settings().base_url == "https://api.proxyapi.ru/openai/v1"
    environment.setenv("VISIONQ_PROVIDER", write(tmp_path, ROW))
    settings = load_settings()
    assert settings.base_url == "https://llm.example.org/v1"
    assert settings.prices_file == tmp_path / "ours-prices.toml"
    environment.setenv("PROXYAPI_BASE_URL", "http://127.0.0.1:1/v1")
    environment.setenv("VISIONQ_PRICES_FILE", "/elsewhere.toml")
    settings = load_settings()
    assert settings.base_url == "http://127.0.0.1:1/v1"
    assert str(settings.prices_file) == "/elsewhere.toml"


@pytest.mark.parametrize(
    ("base", "model", "address"),
    [
        ("https://api.proxyapi.ru/openai/v1", "gpt-6-luna", "https://api.proxyapi.ru/openai/v1"),
        ("https://api.proxyapi.ru/openai/v1", "openai/gpt-6-luna", "https://api.proxyapi.ru/v1"),
        ("https://api.proxyapi.ru/openai/v1", "google/gemini-9", "https://api.proxyapi.ru/v1"),
        ("http://127.0.0.1:8080/at/openai/v1/", "anthropic/c", "http://127.0.0.1:8080/at/v1"),
        ("https://api.proxyapi.ru/v1", "anthropic/c", "https://api.proxyapi.ru/v1"),
        ("https://api.proxyapi.ru/v1", "gpt-6-luna", "https://api.proxyapi.ru/v1"),
        ("https://api.proxyapi.ru/openai/v1", "mistral/m", "https://api.proxyapi.ru/openai/v1"),
    ],
)
def test_where_a_model_is_asked(base: str, model: str, address: str) -> None:
    """A vendor's prefix leads to the address of its route, on the host that is configured."""
    profile = load_profile("proxyapi")
    assert profile.address_for(model, base) == address
    assert profile.address_for(model, base) in profile.addresses(base)
    assert load_profile("polza").addresses(base) == (base,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('authorization = "Api-Key"\n', ""), "provider 1 (ours): authorization: missing"),
        (("confirmed = true\n", ""), "provider 1 (ours): confirmed: missing"),
        (
            ("confirmed", "colour = 1\nconfirmed"),
            "(ours): colour: there is no such field",
        ),
        (('"Api-Key"', '"Basic"'), "provider 1 (ours): authorization: must be"),
        (('"https://llm', '"ftp://llm'), "provider 1 (ours): base_url: it must be an address"),
        (('"/v1/money"', '"https://x"'), "provider 1 (ours): balance.path: must match"),
        ((', field = "data.left"', ""), "provider 1 (ours): balance.field: missing"),
        (("429", "502"), "provider 1 (ours): refusals.error.2: must be of 200, 400"),
        ((', rubles = "80.5"', ""), "provider 1 (ours): cost: `rubles` is what a unit costs"),
        (('"80.5"', "80.5"), 'provider 1 (ours): cost.rubles: write the number in quotes: "80.5"'),
        ((ROW, ROW + ROW.replace("ours", "theirs")), "provider 2 (theirs): only one row is read"),
        ((ROW, ""), "provider: missing"),
    ],
)
def test_a_wrong_row_is_named(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    change: tuple[str, str],
    message: str,
) -> None:
    """One clear line names file, row and field; commands end with exit code 2."""
    old, _ = change
    assert old in ROW
    path = write(tmp_path, ROW.replace(*change))
    environment.setenv("VISIONQ_PROVIDER", path)
    environment.setenv("VISIONQ_REDIS_URL", "redis://127.0.0.1:1/0")
    assert run(["prices", "show"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert path in line
    assert message in line


def test_an_unknown_name_is_told(environment: pytest.MonkeyPatch) -> None:
    """An unknown provider is not guessed: the known ones are named."""
    environment.setenv("VISIONQ_PROVIDER", "nobody")
    with pytest.raises(ConfigurationError, match="VISIONQ_PROVIDER: 'nobody' is no known"):
        load_settings()
    environment.setenv("VISIONQ_PROVIDER", "./nobody.toml")
    with pytest.raises(ConfigurationError, match=r"nobody\.toml: can't be read"):
        load_settings()


def test_refusals_of_proxyapi_are_those_of_the_table() -> None:
    """The rows decide by the same statuses as the profile, and every one of them is reached."""
    refusals = load_profile().refusals
    assert refusals.error == refusals.detail == REFUSALS | {200}
    reached = {
        id(find(status, ErrorFields(row.where or Where.DETAIL, "", code=row.codes[0]), refusals))
        for row in TABLE
        if row.codes and not row.words
        for status in row.statuses
    }
    assert reached >= {id(row) for row in TABLE if row.codes and not row.words}


@pytest.mark.parametrize("name", ["aitunnel", "polza", "vsegpt"])
@pytest.mark.parametrize("where", list(Where))
@pytest.mark.parametrize("status", [200, 402, 408, 500, 502, 503])
def test_what_is_not_listed_may_have_been_billed(name: str, where: Where, status: int) -> None:
    """A body of another form, or a status that a seller's row does not list, is never free."""
    refusals = load_profile(name).refusals
    found = find(status, ErrorFields(where, "x", code="insufficient_quota"), refusals)
    assert (found is UNLISTED) is not (where is Where.ERROR and status == 402)


RUBLES = load_profile("polza").cost


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.000025801, ReportedCost(25801)),
        ("0.0000258011", ReportedCost(25802)),
        (0, ReportedCost(0)),
        (1, ReportedCost(10**9)),
        (1.1, ReportedCost(is_disbelieved=True)),
        (-0.5, ReportedCost(is_disbelieved=True)),
        (float("nan"), ReportedCost(is_disbelieved=True)),
        (float("inf"), ReportedCost(is_disbelieved=True)),
        ("1e999999999", ReportedCost(is_disbelieved=True)),
        ("-1e-999999999", ReportedCost(is_disbelieved=True)),
        ("sNaN", ReportedCost(is_disbelieved=True)),
        ("a lot", ReportedCost(is_disbelieved=True)),
        (True, ReportedCost(is_disbelieved=True)),
        ([1], ReportedCost(is_disbelieved=True)),
        (None, ReportedCost()),
    ],
)
def test_a_cost_is_bounded_where_it_enters(value: Any, told: ReportedCost) -> None:
    """A finite decimal from 0 up to the bound, rounded up to a nano-ruble, or not believed."""
    assert read_cost({"usage": {"cost_rub": value}}, RUBLES, most=10**9) == told


def test_other_currencies_are_counted_in_rubles(tmp_path: Path) -> None:
    """A cost in dollars is worth what the profile says."""
    profile = load_profile(write(tmp_path, ROW))
    assert profile.cost is not None
    assert profile.cost.rate == Decimal("80.5")
    assert read_cost({"usage": {"cost": 0.001}}, profile.cost, 10**9) == ReportedCost(80_500_000)
    assert find_field({"data": {"left": "7"}}, "data.left") == "7"
    assert find_field({"data": [1]}, "data.left") is None


@pytest.mark.parametrize("body", [None, [], {}, {"usage": None}, {"usage": {"cost_rub": 0}}])
def test_nothing_told_is_nothing_charged(body: Any) -> None:
    """A body without a cost, or with one of nothing, says nothing of a payment."""
    assert not is_charged(body, RUBLES)
    assert not is_charged({"usage": {"cost_rub": 1}}, None)
