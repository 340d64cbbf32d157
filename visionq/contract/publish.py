"""Writes the JSON Schemas of the documents: `python -m visionq.contract.publish docs/schema`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from visionq.contract.job import JobDocument
from visionq.contract.result import ErrorDocument, JobView, ResultDocument

if TYPE_CHECKING:
    from visionq.contract.base import Document

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: A job is described as it may come in, all else as it goes out.
_DOCUMENTS: Final[dict[str, tuple[type[Document], Literal["validation", "serialization"]]]] = {
    "job.schema.json": (JobDocument, "validation"),
    "result.schema.json": (ResultDocument, "serialization"),
    "error.schema.json": (ErrorDocument, "serialization"),
    "view.schema.json": (JobView, "serialization"),
}


def schemas() -> dict[str, str]:
    """Return the text of each schema file by its name."""
    return {name: _schema(document, mode) for name, (document, mode) in _DOCUMENTS.items()}


def _schema(document: type[Document], mode: Literal["validation", "serialization"]) -> str:
    schema = {"$schema": _DIALECT, **document.model_json_schema(mode=mode)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def publish(folder: Path) -> None:
    """Write every schema file into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
