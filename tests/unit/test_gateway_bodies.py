"""JSON from outside, in memory that its length bounds."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from producer.gateway.request_bodies import parse_json

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_as_json_has_it(value: Any) -> None:
    """JSON is read as it is, in any encoding of its characters."""
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8")) == value


@pytest.mark.parametrize("raw", [b"", b"{", b"NaN", b'"\\ud800"', b"[" * 100_000, b"1" * 5_000])
def test_what_is_no_json(raw: bytes) -> None:
    """A body that can't be stored, or is no JSON, is refused in one way."""
    with pytest.raises(ValueError, match=r"."):
        parse_json(raw)


@pytest.mark.parametrize(
    "unit", [b"[],", b"{},", b'"",', b"1,", b'{"a":1},', b"[[[[]]]],", b'"\xf0\x9f\x98\x80",']
)
def test_small_elements_take_no_memory(unit: bytes) -> None:
    """A long text of many small elements is refused before anything is built of it."""
    raw = b"[" + unit * (8_000_000 // len(unit)) + b"1]"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too many elements"):
            parse_json(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_pictures_take_as_much_as_they_are_long() -> None:
    """A long text that is mostly pictures is read, in about its own length."""
    body = {"input": [{"image_url": "A" * 4_000_000}, {"text": "\N{GRINNING FACE}"}]}
    raw = json.dumps(body, ensure_ascii=False).encode()
    tracemalloc.start()
    try:
        assert parse_json(raw) == body
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(raw)
