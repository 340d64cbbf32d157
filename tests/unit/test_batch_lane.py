"""What a batch may hold and costs follows dated rows, and a lane that is not there is refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from visionq.contract import Usage
from visionq.errors import ConfigurationError, InvalidJob
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.prices import check_tier, cost_nano_rubles, load_prices
from visionq.providers import load_profile
from visionq.settings import Settings
from visionq.submission import prepare

TEXT = Path("visionq/data/batches.toml").read_text("utf-8")
PRICES = """batch_factor = "0.5"
[[price]]
model = "a"
input = "10"
output = "30"
source = "s"
date = 2026-11-30
confirmed = true
[[price]]
model = "b"
batch_factor = "0.7"
input = "10"
output = "30"
service_tiers = { flex = "0.6" }
source = "s"
date = 2026-11-30
confirmed = true
"""


def test_the_limits_are_openais() -> None:
    limits = load_batch_table(None).for_model("gpt-6-luna")
    assert (limits.lines, limits.bytes, limits.confirmed) == (50_000, 200_000_000, False)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o-mini", 10**9),
        ("openai/gpt-4o-mini-2024-07-18", 10**9),
        ("gpt-4o", 200_000_000),
        ("gpt-7", 200_000_000),
    ],
)
def test_a_model_has_its_own_row(model: str, tokens: int) -> None:
    limits = load_batch_table(None).for_model(model)
    assert limits.enqueued_tokens == tokens
    assert limits.lines == 50_000
    assert "tier 4" in limits.source


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lines = 50_000", "lines = 0", "limits.lines: must be at least 1"),
        ("lines = 50_000", 'lines = "many"', "limits.lines: "),
        ("bytes = 200_000_000", "", "limits.bytes: missing"),
        ('"gpt-4.1-mini"', '"gpt-4o-mini"', "gpt-4o-mini is listed twice"),
        ("tokens = 1_000_000_000", "tokens = -1", "enqueued 1: tokens: must be at least 1"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "batches.toml"
    assert old in TEXT
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as raised:
        load_batch_table(file)
    assert message in str(raised.value)
    assert "batches.toml" in str(raised.value)


def test_a_batch_costs_what_its_row_says_else_the_table(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    prices, usage = load_prices(file), Usage(input_tokens=101, output_tokens=7)
    online = 101 * 10_000 + 7 * 30_000
    for model, factor in (("a", "0.5"), ("b", "0.7")):
        price = prices.of_batch(model)
        assert price is not None
        assert cost_nano_rubles(price, usage) == online * Decimal(factor)
    assert prices.of_batch("c") is None


def test_batch_is_no_service_tier() -> None:
    with pytest.raises(InvalidJob, match="service_tier: batch is a lane"):
        check_tier(load_prices(), "gpt-6-luna", "batch")


@pytest.mark.parametrize(
    ("provider", "model", "api", "there"),
    [
        ("proxyapi", "gpt-6-luna", "responses", True),
        ("proxyapi", "gpt-6-luna", "chat_completions", True),
        ("proxyapi", "anthropic/claude-haiku-4-5", "responses", False),
        ("aitunnel", "gpt-6-luna", "responses", False),
    ],
)
def test_a_lane_that_is_not_there_is_refused_by_name(
    provider: str, model: str, api: str, there: bool
) -> None:
    assert load_profile(provider).has_batches(model, api) is there
    fields = {"prompt": "?", "images": [{"url": "https://example.com"}], "model": model}
    settings = Settings(provider=provider)
    asked = {**fields, "api": api, "lane": "batch"}
    if there:
        assert prepare(asked, settings).lane == "batch"
        return
    with pytest.raises(InvalidJob, match=f"lane: {provider} has no batches of {model}"):
        prepare(asked, settings)
    assert prepare(fields, settings).lane == "auto"


def test_a_batch_keeps_no_time_of_a_jobs_own() -> None:
    """`lane: batch` with `by` is refused: nobody could keep both, and neither is dropped."""
    fields = {"prompt": "?", "images": [{"url": "https://example.com"}], "by": "6h"}
    with pytest.raises(InvalidJob, match=r"by: .* set lane to auto"):
        prepare({**fields, "lane": "batch"}, Settings())
    for lane in ("auto", "online"):
        assert prepare({**fields, "lane": lane}, Settings()).by is not None
