"""From given fields to a job: defaults, and pictures inside addresses."""

from __future__ import annotations

import base64
import re
import tracemalloc
from contextlib import suppress
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote_to_bytes

import hypothesis.strategies as st
import pytest
from hypothesis import given

from visionq import submission
from visionq.blobs import sha256_of
from visionq.errors import EmptyFile, InvalidJob, TooLarge
from visionq.pricing.model_options import load_option_table
from visionq.settings import Settings
from visionq.submission import asked_of, check_size, extract_data_urls, prepare

SETTINGS = Settings(default_model="own-model", default_max_output_tokens=77)
URL = {"url": "https://example.com/a.png"}


def job(*images: Any, **fields: Any) -> dict[str, Any]:
    return {"prompt": "What?", "images": list(images or [URL]), **fields}


def test_defaults() -> None:
    """A job that names no model and no limit gets those of the settings, None included."""
    for fields in (job(), job(model=None, max_output_tokens=None)):
        document = prepare(fields, SETTINGS)
        assert (document.model, document.max_output_tokens) == ("own-model", 77)


def test_choices_stay() -> None:
    """A job's own options are not replaced, and the caller's mapping is left alone."""
    fields = job(model="m2", max_output_tokens=16)
    before = dict(fields)
    document = prepare(fields, SETTINGS)
    assert (document.model, document.max_output_tokens) == ("m2", 16)
    assert fields == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": [URL]}, "prompt: missing"),
        (job(colour="red"), "colour: there is no such field"),
        ({"prompt": "?", "images": []}, "images: "),
        (job({"url": "https://a", "blob": "a" * 64}), "images.0: "),
        (job(model="no model"), "model: "),
    ],
)
def test_wrong_field(fields: dict[str, Any], message: str) -> None:
    """The first wrong field is named."""
    with pytest.raises(InvalidJob) as raised:
        prepare(fields, SETTINGS)
    assert raised.value.message.startswith(message)


#: Bytes that a picture may have.
MOST = 1_000_000


CHEAP, STRONG = "gpt-6-luna", "gpt-6.1-terra"
SURE: dict[str, Any] = {
    "type": "object",
    "properties": {"confidence": {"type": "number"}},
    "required": ["confidence"],
}


def ladder(*models: str, **fields: Any) -> dict[str, Any]:
    return {"models": models or (STRONG,), "sure_at": 0.8, **fields}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fallback": [CHEAP]}, "fallback: gpt-6-luna is named twice"),
        ({"fallback": [STRONG, STRONG]}, "fallback: gpt-6.1-terra is named twice"),
        ({"fallback": ["gpt-unheard-of"]}, "fallback: gpt-unheard-of has no price"),
        ({"fallback": ["gpt-4o"], "effort": "none"}, "fallback: effort: gpt-4o takes no effort"),
        ({"fallback": list("abcde")}, "fallback: "),
        ({"fallback": [STRONG], "lane": "batch"}, "lane: a job with further models"),
        ({"cascade": ladder()}, "cascade.sureness: field needs an answer_schema"),
        ({"cascade": ladder(field="sure"), "answer_schema": SURE}, "cascade.field: "),
        ({"cascade": ladder(sureness="agreement")}, "cascade.sureness: agreement is that of two"),
        ({"cascade": ladder(sure_at=1.5)}, "cascade.sure_at: "),
        ({"cascade": {"models": [], "sure_at": 0.5}}, "cascade.models: "),
        (
            {"cascade": ladder(sureness="logprobs"), "fallback": [STRONG]},
            "fallback: gpt-6.1-terra is named twice",
        ),
    ],
)
def test_wrong_further_models(fields: dict[str, Any], message: str) -> None:
    """A fallback or a cascade that can't be asked is refused by its field, and by the model."""
    with pytest.raises(InvalidJob) as raised:
        prepare(job(model=CHEAP, **fields), SETTINGS)
    assert raised.value.message.startswith(message)


def test_each_model_has_its_defaults() -> None:
    """Effort and longest answer that nobody gave are those of the model that is asked."""
    document = prepare(job(model="gpt-4o", fallback=["gpt-5-mini"]), SETTINGS)
    table = load_option_table()
    asked = asked_of(document, "gpt-5-mini", {"effort", "max_output_tokens"}, table, SETTINGS)
    direct = prepare(job(model="gpt-5-mini"), SETTINGS)
    assert (document.effort, asked.effort) == (None, direct.effort)
    assert asked.max_output_tokens == direct.max_output_tokens
    assert asked_of(document, "gpt-5-mini", set(), table, SETTINGS).max_output_tokens == 77


def data_url(content: bytes, head: str = "data:image/png;base64,") -> dict[str, str]:
    return {"url": head + base64.b64encode(content).decode(), "name": "a.png"}


def test_data_urls() -> None:
    """Pictures inside addresses become blobs, in their places; other pictures stay as they are."""
    content = bytes(range(256))
    fields, contents = extract_data_urls(job(URL, data_url(content), {"blob": "b" * 64}), MOST)
    assert contents == [content]
    document = prepare(fields, SETTINGS)
    seen = [(image.url, image.blob, image.name) for image in document.images]
    assert seen == [
        (URL["url"], None, None),
        (None, sha256_of(content), "a.png"),
        (None, "b" * 64, None),
    ]


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png;base64,",
        "DATA:image/png;BASE64,",
        "data:;base64,",
        "data:image/png;a=b;base64,",
    ],
)
def test_data_url_forms(head: str) -> None:
    """Every form of the head is read, and so are wrapped and percent-encoded data."""
    assert extract_data_urls(job(data_url(b"\xff\xfe>", head)), MOST)[1] == [b"\xff\xfe>"]
    wrapped = {"url": head + "//%34%2B\n \r\nPg%3D%3D"}
    assert extract_data_urls(job(wrapped), MOST)[1] == [b"\xff\xfe>>"]


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png,plain",
        "data:image/png;base64",
        "data:",
        "data:image/png;base64,a",
        "data:image/png;base64,a$==",
        "data:image/png;base64,абв",
        "data:image/png;base64,%",
        "data:image/png;base64,QUJD%4",
        "data:image/png;base64,QUJD%zz",
        "data:image/png;base64,%\nQUJD\nQUJD",
        "data:image/png;base64,QUJD====%41",
        "data:image/png;base64,\ud800",
    ],
)
def test_broken_data_url(url: str) -> None:
    """A picture that can't be decoded is named by its number, without its content."""
    with pytest.raises(InvalidJob, match=r"images\.1\.url: .*data URL") as raised:
        extract_data_urls(job(URL, {"url": url}), MOST)
    assert len(raised.value.message) < 160


@given(
    text=st.text("%4aF=+ \n", max_size=40)
    | st.lists(st.sampled_from(["%41", "%3d", "%2B", "Q", "\n", " "]), max_size=20).map("".join),
    piece=st.integers(1, 7),
)
def test_escapes_across_pieces(text: str, piece: int) -> None:
    """However data is cut into pieces, it is decoded, or found broken, as a whole would be."""
    plain = "".join(text.split())
    is_broken = re.search("%(?![0-9A-Fa-f]{2})", plain) or ("%" in plain and plain.count("=") > 2)
    with patch.object(submission, "_PIECE", piece):
        if is_broken:
            with pytest.raises(ValueError, match="a broken escape"):
                submission._unescaped(text.encode())
        else:
            wanted = b"".join(unquote_to_bytes(plain).split())
            assert submission._unescaped(text.encode()) == wanted


def test_large_data_url_is_refused_before_it_is_decoded() -> None:
    """A picture that is too large is refused with its name, however it is written."""
    assert extract_data_urls(job(data_url(b"abc")), 3)[1] == [b"abc"]
    with pytest.raises(TooLarge, match=r"a\.png: the file has more than 3 bytes"):
        extract_data_urls(job(data_url(b"abcd" * 9)), 3)


@pytest.mark.parametrize("unit", ["%41%42%43%44", "%2B%2f", "A B\n", "QUJD", "%3D", "="])
def test_memory_is_a_few_times_the_address(unit: str) -> None:
    """However an address is escaped or wrapped, decoding it takes a few times its size."""
    url = "data:image/png;base64," + unit * (3_000_000 // len(unit))
    tracemalloc.start()
    try:
        with suppress(InvalidJob):
            extract_data_urls(job({"url": url}), len(url))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(url)


@given(st.binary(max_size=200), st.data())
def test_every_way_of_writing(content: bytes, data: st.DataObject) -> None:
    """A picture is the same, whichever of its characters are escaped and wherever it is wrapped."""
    written = "".join(
        data.draw(st.sampled_from([one, f"%{ord(one):02x}", f"%{ord(one):02X}", f"{one}\r\n "]))
        for one in base64.b64encode(content).decode()
    )
    found = extract_data_urls(job({"url": f"data:;base64,{written}"}), MOST)[1]
    assert found == [content]


@pytest.mark.parametrize("images", [None, "text", 7, [None, 3, "data:,"], [{"url": None}]])
def test_no_pictures_to_extract(images: object) -> None:
    """Images of no known form are left for `prepare`, which names what is wrong."""
    fields, contents = extract_data_urls({"prompt": "?", "images": images}, MOST)
    assert contents == []
    with pytest.raises(InvalidJob, match="images"):
        prepare(fields, SETTINGS)


def test_size() -> None:
    """No bytes and too many are distinguished, with the picture's name; the limit itself passes."""
    assert check_size(b"abc", "a.png", 3) == b"abc"
    with pytest.raises(TooLarge, match=r"a\.png: the file has more than 2 bytes"):
        check_size(b"abc", "a.png", 2)
    with pytest.raises(EmptyFile, match=r"a\.png: the file is empty"):
        check_size(b"", "a.png", 3)


@pytest.mark.parametrize(
    "field",
    [
        {"prompt": "\ud83d"},
        {"instructions": "\ud83d"},
        {"metadata": {"a": "\ud83d"}},
        {"metadata": {"\ud83d": "a"}},
        {"images": [{"url": "https://example.org/\ud83d"}]},
        {"images": [{"url": "https://example.org/", "name": "\ud83d"}]},
        {"idempotency_key": "\ud83d"},
        {"answer_schema": {"type": "\ud83d"}},
        {"extra_body": {"user": "\ud83d"}},
        {"\ud83d": 1},
    ],
)
def test_half_a_surrogate_pair(field: dict[str, Any]) -> None:
    """Text that no document can be written with is refused as a wrong field, whichever it is."""
    with pytest.raises(InvalidJob) as raised:
        prepare({**job(URL), **field}, SETTINGS)
    assert raised.value.message.encode()


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "objekt"}, "type: 'objekt' is no type of JSON Schema"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"pattern": "("}, "not a regex"),
    ],
)
def test_a_schema_that_is_none(schema: dict[str, Any], complaint: str) -> None:
    """It is refused before the job is entered, by the same rules as just before the call."""
    with pytest.raises(InvalidJob, match=f"^invalid_job: answer_schema: .*{complaint}"):
        prepare({**job(URL), "answer_schema": schema}, SETTINGS)
