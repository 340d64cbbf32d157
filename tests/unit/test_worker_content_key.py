"""The identity of a question: what shapes the answer counts, and nothing else."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.cache_key import cache_key
from visionq.contract import JobDocument, parse_job

SHA: Final = st.text("0123456789abcdef", min_size=64, max_size=64)
PICTURES: Final = st.lists(SHA, min_size=1, max_size=4)
JOBS: Final = st.fixed_dictionaries(
    {
        "prompt": st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
        "model": st.sampled_from(["m1", "m2"]),
        "api": st.sampled_from(["responses", "chat_completions"]),
        "detail": st.sampled_from(["auto", "low", "high", "original"]),
        "tenant": st.sampled_from(["a", "b"]),
        "max_output_tokens": st.sampled_from([16, 100]),
    },
    optional={
        "instructions": st.sampled_from(["", "be brief"]),
        "temperature": st.sampled_from([0.0, 1.0]),
        "answer_schema": st.sampled_from([{"type": "object"}, {"type": "array"}]),
        "effort": st.sampled_from(["none", "low"]),
        "service_tier": st.sampled_from(["default", "flex"]),
        "extra_body": st.sampled_from([{}, {"seed": 1}, {"reasoning": {"summary": "auto"}}]),
    },
)
#: A field, and two values of it that ask different things.
SHAPING: Final[dict[str, tuple[Any, Any]]] = {
    "prompt": ("What?", "what?"),
    "instructions": (None, ""),
    "model": ("m1", "m2"),
    "api": ("responses", "chat_completions"),
    "detail": ("auto", "high"),
    "answer_schema": (None, {}),
    "max_output_tokens": (16, 17),
    "temperature": (None, 0.0),
    "effort": (None, "none"),
    "tenant": ("a", "b"),
    "pictures": ({}, {"text": "reject"}),
    "service_tier": (None, "flex"),
    "extra_body": ({"seed": 1}, {"seed": 2}),
}
#: A field, and a value of it that asks nothing else.
IRRELEVANT: Final[dict[str, Any]] = {
    "priority": "bulk",
    "metadata": {"a": "b"},
    "batch_id": "b1",
    "idempotency_key": "k1",
    "replay_of": "job-1",
    "reuse": "refresh",
    "on_unknown_billing": "hold",
    "deadline": "2030-01-01T00:00:00Z",
    "by": "2030-01-01T00:00:00Z",
    "lane": "batch",
    "url_mode": "pass",
    "repair": False,
    "answer_format": {"type": "function", "name": "f"},
    "prompt_cache": "off",
    "prompt_cache_ttl": "30m",
    "near": 4,
    "together": True,
    "fallback": ["m2"],
    "cascade": {"models": ["m2"], "sure_at": 0.5},
}
URL: Final = {"url": "https://example.com/a.png"}


def job(**fields: Any) -> JobDocument:
    return parse_job({"prompt": "What?", "images": [URL], **fields})


@given(JOBS, PICTURES)
def test_the_same_question(fields: dict[str, Any], pictures: list[str]) -> None:
    """A question keeps its key on its way through the ledger, with its pictures anywhere."""
    asked = job(**fields)
    stored = JobDocument.model_validate_json(asked.to_compact_json())
    elsewhere = stored.model_copy(update={"images": job(images=[{"blob": "0" * 64}]).images})
    key = cache_key(asked, pictures)
    assert cache_key(elsewhere, tuple(pictures)) == key
    assert len(key) == 64


@given(JOBS, JOBS, PICTURES, PICTURES)
def test_another_question(
    one: dict[str, Any], other: dict[str, Any], pictures: list[str], others: list[str]
) -> None:
    """Two questions share a key exactly when all that shapes their answers is equal."""
    same = (job(**one), pictures) == (job(**other), others)
    assert (cache_key(job(**one), pictures) == cache_key(job(**other), others)) is same


@given(JOBS, JOBS, PICTURES)
def test_shared_by_tenants(one: dict[str, Any], other: dict[str, Any], pictures: list[str]) -> None:
    """If answers are shared, tenants are all that is left out of the key."""
    same = job(**{**one, "tenant": "t"}) == job(**{**other, "tenant": "t"})
    keys = [cache_key(job(**fields), pictures, shared=True) for fields in (one, other)]
    assert (keys[0] == keys[1]) is same
    assert keys[0] != cache_key(job(**one), pictures)


def test_keys_of_stored_answers_stay() -> None:
    """A field that is new, and not used, leaves the answers that are stored where they are."""
    key = cache_key(job(), ["0" * 64])
    assert key == "1e48dbf7ad292d7a7fef17a1f44b9720ae6318673245312dd638b3b455295a0c"


@given(st.lists(SHA, min_size=2, max_size=5))
def test_pictures_in_order(pictures: list[str]) -> None:
    """The order of the pictures, and their number, belong to the question."""
    key = cache_key(job(), pictures)
    assert (cache_key(job(), pictures[::-1]) == key) is (pictures == pictures[::-1])
    assert cache_key(job(), pictures[1:]) != key
    assert cache_key(job(), [*pictures, pictures[0]]) != key


@pytest.mark.parametrize("field", SHAPING)
def test_what_counts(field: str) -> None:
    """Each field that reaches the model, or says whose answer it is, makes another question."""
    first, second = SHAPING[field]
    assert cache_key(job(**{field: first}), []) != cache_key(job(**{field: second}), [])


@pytest.mark.parametrize("field", IRRELEVANT)
def test_what_does_not_count(field: str) -> None:
    """Fields that only say how the job is handled leave the question the same."""
    assert cache_key(job(**{field: IRRELEVANT[field]}), []) == cache_key(job(), [])


def test_each_field_is_decided() -> None:
    """A field that is added to the contract has to be put on one side or the other."""
    assert {*SHAPING, *IRRELEVANT, "images", "schema_version"} == set(JobDocument.model_fields)


def test_order_within_a_schema() -> None:
    """The same schema written in another order asks the same."""
    one = {"type": "object", "title": "T"}
    other = {"title": "T", "type": "object"}
    assert cache_key(job(answer_schema=one), []) == cache_key(job(answer_schema=other), [])
