"""The cache of a frame's answers, read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from visionq.errors import RecordRefused
from visionq.frames.answer_columns import answers_in

if TYPE_CHECKING:
    from pathlib import Path


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """A line that is not a row is refused by its number; a torn last line is left out."""
    record = tmp_path / "answers.jsonl"
    record.write_text('{"id": "a", "text": "1"}\n{"id": "a", "text": "2"}\n{"id": "b"', "utf-8")
    assert answers_in(record) == {"a": {"id": "a", "text": "2"}}
    for broken in ("{", "[1]", "{}"):
        record.write_text(f'{{"id": "a"}}\n{broken}\n', "utf-8")
        with pytest.raises(RecordRefused, match=r"answers\.jsonl: line 2 is not a row"):
            answers_in(record)
