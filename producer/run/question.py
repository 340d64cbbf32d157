"""What a run asks of every row, and the identities that follow from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from producer.prompts import job_fields
from producer.sources import take_row_pictures
from visionq.contract import Priority
from visionq.sdk.drafts import Draft, draft, most_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.prompts import Prompt
    from producer.sources import Row
    from visionq.contract import JobDocument
    from visionq.settings import Settings

#: What makes answers comparable, beside the prompt: a record holds answers to one question alone.
_SHAPING: Final = ("model", "detail", "answer_schema")
#: Likewise, where they are given.
_SHAPING_TOO: Final = ("instructions", "extra_body", "effort")


@dataclass(frozen=True)
class Question:
    """The prompt, in which `{column}` stands for a row's own value, and the other job fields."""

    #: None where the rows bring their own.
    prompt: Prompt | None
    #: `model`, `api`, `detail`, `answer_schema`, `max_output_tokens`, `tenant`, … as far as given.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The fingerprint of a source whose rows bring their own prompts.
    source: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """Names the question in every row of its record: prompt, model, detail and schema."""
        shape = {"detail": "auto", **self.options}
        asked = [self.prompt.text if self.prompt else "", self.source]
        told = [{name: shape[name]} for name in _SHAPING_TOO if shape.get(name)]
        return _digest([*asked, *(shape.get(name) for name in _SHAPING), *told])[:16]

    def draft(self, row: Row, settings: Settings, run: str, attempt: int) -> Draft:
        """Return the job of a row, its pictures read.

        Its id follows from what it asks, so that whoever asks the same again for the same run
        finds the job that is out instead of paying for another.

        Raises:
            InvalidJob: a field is wrong, or the row lacks what its prompt names.
            ImageError: a picture can't be read, is empty or too large.
        """
        fields = job_fields(row, self.prompt, self.options)
        fields["images"] = take_row_pictures(row.images, most_bytes(fields, settings))
        fields |= {"priority": Priority.BULK.value, "batch_id": run}
        drafted = draft(fields, settings, "-")
        job_id = _job_id(run, row.id, attempt, drafted.job.document)
        return replace(drafted, job=replace(drafted.job, id=job_id))


def run_id(record: str, question: Question) -> str:
    """Return the id of a run: of one question into one file, given by its absolute path."""
    return f"run-{_digest([record, question.fingerprint])[:16]}"


def _job_id(run: str, row_id: str, attempt: int, document: JobDocument) -> str:
    return f"{run}-{_digest([row_id, attempt, document.to_compact_json()])[:24]}"


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
