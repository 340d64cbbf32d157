"""What headers say of rate limits."""

from __future__ import annotations

import pytest

from worker.provider.reply import RateLimitHeaders, read_rate_limit_headers


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, RateLimitHeaders()),
        ({"x-ratelimit-limit-requests": "500"}, RateLimitHeaders(requests=500)),
        ({"x-ratelimit-limit-tokens": "200000"}, RateLimitHeaders(tokens=200_000)),
        ({"x-ratelimit-limit-requests": "0"}, RateLimitHeaders()),
        ({"x-ratelimit-limit-requests": "many"}, RateLimitHeaders()),
        ({"x-ratelimit-limit-requests": "nan"}, RateLimitHeaders()),
        ({"x-ratelimit-limit-requests": "9" * 400}, RateLimitHeaders()),
        ({"x-ratelimit-limit-tokens": "1e300"}, RateLimitHeaders()),
        ({"x-ratelimit-limit-tokens": "1e-300"}, RateLimitHeaders()),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m5s"},
            RateLimitHeaders(reset=60),
        ),
        (
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"},
            RateLimitHeaders(reset=0.12),
        ),
        (
            {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"},
            RateLimitHeaders(),
        ),
    ],
)
def test_read_limits(headers: dict[str, str], told: RateLimitHeaders) -> None:
    """Limits are positive numbers; only a limit that is used up has a reset worth waiting for."""
    assert read_rate_limit_headers(headers) == told
