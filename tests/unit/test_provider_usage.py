"""What the provider says that a call counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import Api, Usage
from worker.provider.checked_usage import DisbelievedUsage, Expected, credible, read_usage
from worker.provider.reply import Reply

EXPECTED = Expected(input_tokens=1000, reserved_input=1500, longest_answer=200)
_NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)
_USAGES = st.dictionaries(
    st.sampled_from(("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens")),
    _NUMBERS,
) | st.fixed_dictionaries(
    {
        "input_tokens": st.integers(1, 20_000),
        "output_tokens": st.integers(0, 500),
        "input_tokens_details": st.fixed_dictionaries(
            {},
            optional={
                "cached_tokens": _NUMBERS,
                "cache_write_tokens": _NUMBERS,
                "cache_write_tokens_details": st.dictionaries(st.just("ttl_12h_tokens"), _NUMBERS),
            },
        ),
        "output_tokens_details": st.dictionaries(st.just("reasoning_tokens"), _NUMBERS),
    }
)


@given(usage=_USAGES, api=st.sampled_from(Api))
def test_no_count_is_beyond_the_call(usage: dict[str, Any], api: Api) -> None:
    """From any count, what is taken is none, or within what the call can count."""
    found = read_usage({"usage": usage}, api, EXPECTED)
    if found is not None:
        assert 0 < found.input_tokens <= 15_000
        assert 0 <= found.output_tokens <= 400
        assert 0 <= found.cached_tokens <= found.input_tokens
        assert 0 <= found.cache_write_tokens <= found.input_tokens - found.cached_tokens
        assert 0 <= found.cache_write_12h_tokens <= found.cache_write_tokens
        assert 0 <= found.reasoning_tokens <= found.output_tokens


@pytest.mark.parametrize(
    ("counted", "answered", "is_believed"),
    [
        (1, 0, True),
        (15_000, 400, True),
        (15_001, 1, False),
        (1, 401, False),
        (10**18, 10**18, False),
    ],
)
def test_what_is_believed(counted: int, answered: int, *, is_believed: bool) -> None:
    """A table may be wrong by much, a limit hardly; beyond counts what was reserved."""
    body = {"usage": {"input_tokens": counted, "output_tokens": answered}}
    found = read_usage(body, Api.RESPONSES, EXPECTED)
    assert isinstance(found, DisbelievedUsage) is not is_believed
    if is_believed:
        assert credible(found) == Usage(input_tokens=counted, output_tokens=answered)
    else:
        assert found is not None
        assert credible(found) is None
        assert (found.input_tokens, found.output_tokens) == (1500, 200)


def test_nothing_is_expected() -> None:
    """A count of a model without a forecast is not reported."""
    body = {"usage": {"input_tokens": 10**18, "output_tokens": 1}}
    assert read_usage(body, Api.RESPONSES) is None


@given(st.integers(1, 20_000))
def test_no_number_hides_a_reply(digits: int) -> None:
    """A number of however many digits leaves the rest of the reply to be read."""
    body = f'{{"usage": {{"input_tokens": {"9" * digits}}}, "status": "completed"}}'
    read = Reply(200, {}, body.encode()).json
    assert isinstance(read, dict)
    assert read["status"] == "completed"
    assert json.dumps(read)
