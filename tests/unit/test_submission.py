"""From given fields to a job: defaults, and pictures inside addresses."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from visionq.blobs import sha256_of
from visionq.errors import EmptyFile, InvalidJob, TooLarge
from visionq.settings import Settings
from visionq.submission import check_size, extract_data_urls, prepare

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
    """What a job says itself is not replaced, and the caller's mapping is left alone."""
    fields = job(model="m2", max_output_tokens=16)
    before = dict(fields)
    document = prepare(fields, SETTINGS)
    assert (document.model, document.max_output_tokens) == ("m2", 16)
    assert fields == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": [URL]}, "prompt: Field required"),
        (job(colour="red"), "colour: Extra inputs are not permitted"),
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


def test_wrong_default() -> None:
    """A default model that can't be a model's name is refused like any other."""
    with pytest.raises(InvalidJob, match="model: "):
        prepare(job(), Settings(default_model="no model"))


def data_url(content: bytes, head: str = "data:image/png;base64,") -> dict[str, str]:
    return {"url": head + base64.b64encode(content).decode(), "name": "a.png"}


def test_data_urls() -> None:
    """Pictures inside addresses become blobs, in their places; other pictures stay as they are."""
    content = bytes(range(256))
    fields, contents = extract_data_urls(job(URL, data_url(content), {"blob": "b" * 64}))
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
    assert extract_data_urls(job(data_url(b"\xff\xfe>", head)))[1] == [b"\xff\xfe>"]
    wrapped = {"url": head + "//%34%2B\n \r\nPg%3D%3D"}
    assert extract_data_urls(job(wrapped))[1] == [b"\xff\xfe>>"]


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png,plain",
        "data:image/png;base64",
        "data:",
        "data:image/png;base64,a",
        "data:image/png;base64,a$==",
        "data:image/png;base64,абв",
    ],
)
def test_broken_data_url(url: str) -> None:
    """What can't be decoded is told with the number of its picture, and without its content."""
    with pytest.raises(InvalidJob, match=r"images\.1\.url: .*data URL") as raised:
        extract_data_urls(job(URL, {"url": url}))
    assert len(raised.value.message) < 160


@pytest.mark.parametrize("images", [None, "text", 7, [None, 3, "data:,"], [{"url": None}]])
def test_no_pictures_to_extract(images: object) -> None:
    """Images of no known form are left for `prepare`, which names what is wrong."""
    fields, contents = extract_data_urls({"prompt": "?", "images": images})
    assert contents == []
    with pytest.raises(InvalidJob, match="images"):
        prepare(fields, SETTINGS)


def test_size() -> None:
    """No bytes and too many are told apart, with the picture's name; the limit itself passes."""
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
