from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from obstore.store import from_url

from producer.sources import Row, open_source, take_row_pictures
from producer.sources.bucket import _store
from tests.support.blobs import CREDENTIALS, running_s3
from visionq.errors import InputFileNotFound, InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 1200  # more than a page


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    _store.cache_clear()
    with running_s3(tmp_path) as url:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        yield
    _store.cache_clear()


@pytest.mark.usefixtures("bucket")
def test_a_bucket_is_a_source() -> None:
    """Every picture below the prefix comes, page by page and in order, and can be read."""
    store = from_url("s3://bucket", client_options={"allow_http": True})
    for number in range(COUNT):
        store.put(f"photos/{number:04}.jpg", b"picture")
    store.put("photos/list.txt", b"text")
    store.put("other/x.jpg", b"other")
    source = open_source("s3://bucket/photos")
    rows = [row for row in source.rows() if isinstance(row, Row)]
    assert [row.id for row in rows] == [f"photos/{number:04}.jpg" for number in range(COUNT)]
    assert (source.total, source.skipped) == (COUNT, 1)
    assert rows[0].images == ("s3://bucket/photos/0000.jpg",)
    pictures = take_row_pictures((*rows[0].images, "https://a.example/b", "a.jpg"), 100)
    assert pictures == [
        ("s3://bucket/photos/0000.jpg", b"picture"),
        "https://a.example/b",
        "a.jpg",
    ]
    with pytest.raises(InputFileNotFound, match=r"s3://bucket/no\.jpg"):
        take_row_pictures(["s3://bucket/no.jpg"], 100)
    with pytest.raises(InvalidSource, match="it contains no picture"):
        list(open_source("s3://bucket/nothing").rows())


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there_is_told() -> None:
    """One line names the address and what to look at."""
    with pytest.raises(InvalidSource, match=r"s3://missing/x: can't be read.*AWS_") as raised:
        list(open_source("s3://missing/x").rows())
    assert "\n" not in str(raised.value)
