"""The one further question about a paid answer that is not of the form asked for.

It is about the text alone: the pictures were paid once, and are not sent again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from worker.provider.request import build_request

if TYPE_CHECKING:
    from visionq.contract import InvalidAnswer, JobDocument, PromptCache
    from worker.provider.request import ProviderRequest

_INSTRUCTIONS: Final = (
    "An answer was to match a JSON Schema and does not. Return it in the form of the schema, as"
    " JSON and nothing else. Keep its content and its language. Add nothing that it does not say:"
    " what it does not say is null, or empty, wherever the schema admits that."
)


def repair_texts(job: JobDocument, faulty: InvalidAnswer) -> tuple[str, str]:
    """Return instructions and prompt of the question; what many jobs share goes first."""
    schema = json.dumps(job.answer_schema, ensure_ascii=False)
    said = json.dumps({"answer": faulty.text, "fault": faulty.validation_error}, ensure_ascii=False)
    return f"{_INSTRUCTIONS}\n\nThe schema:\n{schema}", said


def build_repair(
    job: JobDocument, faulty: InvalidAnswer, prompt_cache: PromptCache | None = None
) -> ProviderRequest:
    """Build the call that asks the job's model to mend its answer.

    Raises:
        InvalidJob: the job has no model or no limit, or its schema is none.
    """
    instructions, prompt = repair_texts(job, faulty)
    changes = {"instructions": instructions, "prompt": prompt, "images": ()}
    return build_request(job.model_copy(update=changes), (), (), prompt_cache)
