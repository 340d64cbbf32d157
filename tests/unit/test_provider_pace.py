"""What headers say of rate limits."""

from __future__ import annotations

import pytest

from worker.provider.pace import ToldLimits, read_limits


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, ToldLimits()),
        ({"x-ratelimit-limit-requests": "500"}, ToldLimits(requests=500)),
        ({"x-ratelimit-limit-tokens": "200000"}, ToldLimits(tokens=200_000)),
        ({"x-ratelimit-limit-requests": "0"}, ToldLimits()),
        ({"x-ratelimit-limit-requests": "many"}, ToldLimits()),
        ({"x-ratelimit-limit-requests": "nan"}, ToldLimits()),
        ({"x-ratelimit-limit-requests": "9" * 400}, ToldLimits()),
        ({"x-ratelimit-limit-tokens": "1e300"}, ToldLimits()),
        ({"x-ratelimit-limit-tokens": "1e-300"}, ToldLimits()),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m5s"},
            ToldLimits(reset=60),
        ),
        (
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"},
            ToldLimits(reset=0.12),
        ),
        (
            {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"},
            ToldLimits(),
        ),
    ],
)
def test_read_limits(headers: dict[str, str], told: ToldLimits) -> None:
    """Limits are positive numbers; only a limit that is used up has a reset worth waiting for."""
    assert read_limits(headers) == told
