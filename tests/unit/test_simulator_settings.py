from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from visionq.devstack.simulator.refusals import SimulatedRefusal
from visionq.devstack.simulator.simulator_settings import SimulatorSettings, merged


def test_defaults() -> None:
    """A new simulator answers at once, has money, sets no limits and makes no faults."""
    shown = SimulatorSettings().model_dump(mode="json")
    assert shown == {
        "latency_s": 0,
        "balance_rub": 1_000_000,
        "balance_readable": True,
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "rate_headers": True,
        "token_factor": 1.0,
        "price_factor": 1.0,
        "dialect": "proxyapi",
        "cache_clock_ahead_s": 0.0,
        "answer_tokens": None,
        "full_tiers": [],
        "refused_tiers": [],
        "models": None,
        "today": None,
        "shutdown_dates": {},
        "denied_models": [],
        "seed": 0,
        "faults": {},
        "accuracies": {},
        "sureness": {},
        "truth_seed": 0,
        "faults_next": [],
        "batch_api": True,
        "batch_pictures": True,
        "batch_duration_s": 1,
        "batch_durations_next": [],
        "batch_window_s": 86_400,
        "batch_finalizing_s": 0,
        "batch_cancelling_s": 0,
        "batch_list_lag_s": 0,
        "batch_clock_ahead_s": 0,
        "batch_enqueued_tokens": None,
        "batch_ranges": True,
        "batch_faults": {},
        "batch_faults_next": [],
        "batch_fault_share": 0.3,
    }


def test_merging_keeps_what_is_not_named() -> None:
    """Keys that are not named keep their values; `faults` is replaced as a whole."""
    first = merged(SimulatorSettings(), {"latency_s": 2, "faults": {"429": 0.1, "500": 0.2}})
    second = merged(first, {"faults": {"503": 0.3}})
    assert second.latency_s == 2
    assert {str(fault): odds for fault, odds in second.faults.items()} == {"503": 0.3}


def test_numbers_for_faults_are_taken() -> None:
    """A fault may be ordered as the number 429 as well as by its name."""
    assert merged(SimulatorSettings(), {"faults_next": [429, "hang"]}).faults_next == (
        "429",
        "hang",
    )


def test_balance_is_exact() -> None:
    """A balance given as a decimal string is kept to the last digit."""
    assert merged(SimulatorSettings(), {"balance_rub": "0.1"}).balance_rub == Decimal("0.1")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"latency_s": "soon"}, "latency_s"),
        ({"latency_s": -1}, "latency_s"),
        ({"latency_s": True}, "latency_s"),
        ({"balance_rub": "much"}, "balance_rub"),
        ({"balance_rub": float("nan")}, "balance_rub"),
        ({"balance_readable": 1}, "balance_readable"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"tokens_per_minute": "10"}, "tokens_per_minute"),
        ({"token_factor": None}, "token_factor"),
        ({"seed": 1.5}, "seed"),
        ({"faults": {"418": 0.1}}, "418"),
        ({"faults": {"429": 1.1}}, "429"),
        ({"faults": {"429": 0.6, "500": 0.6}}, "faults"),
        ({"faults_next": ["nonsense"]}, "faults_next"),
        ({"faults_next": "429"}, "faults_next"),
        ({"latency": 1}, "latency"),
    ],
)
def test_wrong_settings_name_the_field(changes: dict[str, Any], field: str) -> None:
    """A value of another type and a key that does not exist give 422 with the field's name."""
    with pytest.raises(SimulatedRefusal) as caught:
        merged(SimulatorSettings(), changes)
    assert caught.value.status == 422
    assert field in str(caught.value.body["detail"])
