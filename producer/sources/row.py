"""One unit of bulk work, as every kind of source yields it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Row:
    """One question about one picture, or about several."""

    #: Its place in the source, from 1.
    number: int
    #: What names it in OUT and at a resumption: unique within its source.
    id: str
    #: Paths of local files, `http(s)://` addresses, `s3://` addresses or `data:` URLs, in order.
    images: tuple[str, ...]
    #: What its `{placeholders}` in the prompt stand for.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Fields of the job that this row sets itself, as the lines of an OpenAI Batch file do.
    overrides: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't become a job: it goes into OUT with this error, and nothing is paid."""

    number: int
    id: str
    #: A code of the error tree, such as `file_not_found` or `invalid_job`.
    code: str
    message: str
