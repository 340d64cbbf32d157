"""What operators may read of an error: code, field and position, and nothing of the job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import ImageReference
from visionq.errors import BY_CODE, CorruptImage, DownloadFailed, InvalidJob, without_secrets
from visionq.redaction import brief, brief_of, keep_content_out_of_logs, read_brief, without_text

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "canary"  # noqa: S105  # a word to look for


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("images.0.url: give an address", "invalid_job: images.0.url"),
        ("prompt: missing (and 3 more)", "invalid_job: prompt"),
        (f"images.1.{SECRET}: not permitted", "invalid_job: images.1"),
        (f"metadata.{SECRET}: not a text", "invalid_job: metadata"),
        (f"metadata.url.{SECRET}: not a text", "invalid_job: metadata"),
        (f"extra_body.{SECRET}: not JSON", "invalid_job: extra_body"),
        (f"{SECRET}: not permitted", "invalid_job"),
        (f"{SECRET} prompt: no", "invalid_job"),
        (SECRET, "invalid_job"),
        ("", "invalid_job"),
    ],
)
def test_fields(message: str, shown: str) -> None:
    """A field of the contract is named; what a caller named stays with the caller."""
    assert brief("invalid_job", message) == shown
    assert brief_of(InvalidJob(message)) == shown
    assert read_brief(shown) == shown


def test_places_that_workers_tell() -> None:
    """A task's public error is shown as it is."""
    assert brief_of(CorruptImage("picture 2")) == "corrupt_image: picture 2"
    assert brief_of(CorruptImage(f"picture {SECRET}")) == "corrupt_image"
    assert brief_of(InvalidJob("broken_body")) == "invalid_job: broken_body"


@given(st.text(), st.none() | st.integers(1, 500))
def test_brief_is_read_back(message: str, picture: int | None) -> None:
    """A reader gets all events, with any error text."""
    for code in ("corrupt_image", "request_rejected"):
        told = brief(code, message, picture)
        assert read_brief(told) == told


@given(st.text(alphabet="abc.: \n/0", max_size=40))
def test_only_known_words_are_read(text: str) -> None:
    """Of a text that anybody may have sent nothing is left but a known code."""
    assert read_brief(text) is None
    assert read_brief(f"rate_limited: {text}") == "rate_limited"
    assert {code: read_brief(code) for code in BY_CODE} == {code: code for code in BY_CODE}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://u:{SECRET}@h.org/a.jpg?X-Sig={SECRET}#{SECRET}", "https://h.org/a.jpg"),
        (f"at HTTP://{SECRET}@h.org:8443/a?{SECRET}, again", "at HTTP://h.org:8443/a again"),
        (f"redis://:{SECRET}@127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        (f"https://u:p@{SECRET}@h.org/", "https://h.org/"),
        (f"'https://h.org/a?{SECRET}' and 's3://b/k?{SECRET}'", "'https://h.org/a' and 's3://b/k'"),
        ("no address: a.png?", "no address: a.png?"),
    ],
)
def test_addresses(text: str, shown: str) -> None:
    """Of an address people read host and path, in a message as in the name of a picture."""
    assert without_secrets(text) == shown
    assert DownloadFailed(text, image=text).message == shown
    assert str(DownloadFailed(text, image=text)) == f"download_failed: {shown}: {shown}"
    assert ImageReference(url=text).label(0) == shown


def test_exceptions_without_text() -> None:
    """A traceback tells places and classes, also of what led to it, and no text but hosts."""

    def fail() -> None:
        try:
            dict[str, str]()[SECRET]
        except KeyError as error:
            raise ValueError(f"no {SECRET}") from error

    with pytest.raises(ValueError, match=SECRET) as raised:
        fail()
    told = without_text(raised.value)
    assert SECRET not in told
    assert "KeyError\n\nwhich led to:\n\nTraceback" in told
    assert told.endswith("\nValueError")
    assert f", in {fail.__name__}\n" in told
    assert without_text(ConnectionRefusedError(111, "refused")).endswith("[Errno 111] refused")


@pytest.fixture
def quiet_logs() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    keep_content_out_of_logs()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("quiet_logs")
def test_logs_of_libraries(caplog: pytest.LogCaptureFixture) -> None:
    """A library's log of an exception holds its class alone, in words and traceback."""
    log = logging.getLogger("a.library")
    try:
        f"{SECRET} \ud83d".encode()
    except UnicodeEncodeError as error:
        log.exception("task failed: %r", error)  # noqa: TRY401  # as Celery does
        log.warning("failed: %s", InvalidJob(f"prompt: {SECRET}"))
        log.warning("not reached: %s", ConnectionRefusedError(111, "refused"))
    assert SECRET not in caplog.text
    assert "task failed: 'UnicodeEncodeError'" in caplog.text
    assert "failed: invalid_job: prompt" in caplog.text
    assert "not reached: [Errno 111] refused" in caplog.text
