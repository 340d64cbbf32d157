"""The wire form of every document, held against files that other programs may rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import ValidationError

from visionq.contract import (
    ErrorDocument,
    InvalidAnswer,
    JobDocument,
    JobView,
    ResultDocument,
    parse_job,
)
from visionq.contract.publish import schemas
from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from visionq.contract.base import Document

GOLDEN: Final = Path(__file__).parent / "golden"
SCHEMAS: Final = Path(__file__).parents[2] / "docs" / "schema"
DOCUMENTS: Final[dict[str, type[Document]]] = {
    "job": JobDocument,
    "result": ResultDocument,
    "error": ErrorDocument,
    "view": JobView,
}
FILES: Final = sorted(GOLDEN.glob("*.json"))


def _kind(path: Path) -> type[Document]:
    return DOCUMENTS[path.name.split("-")[0]]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_golden(path: Path) -> None:
    """A document reads its file, and writes the same again: the same fields, values and order."""
    text = path.read_text(encoding="utf-8")
    document = _kind(path).model_validate_json(text)
    again = json.dumps(document.to_public(), indent=2, ensure_ascii=False) + "\n"
    assert again == text
    assert json.loads(document.to_json()) == json.loads(text)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_golden_has_every_field(path: Path) -> None:
    """No field is missing from the files: a field that is renamed or dropped is noticed."""
    assert set(json.loads(path.read_text(encoding="utf-8"))) == set(_kind(path).model_fields)


def test_each_document_has_its_file() -> None:
    """Each document is pinned with everything set, and with everything left out."""
    names = {path.stem for path in FILES}
    assert names == {f"{kind}-{form}" for kind in DOCUMENTS for form in ("full", "least")}


def test_stored_form_of_a_job() -> None:
    """A stored document leaves out default values, and reads back the same."""
    least = JobDocument.model_validate_json((GOLDEN / "job-least.json").read_text())
    assert least.to_compact_json() == (
        '{"schema_version":1,"prompt":"Что здесь?","images":[{"url":"https://example.com/a.png"}]}'
    )
    full = JobDocument.model_validate_json((GOLDEN / "job-full.json").read_text())
    assert JobDocument.model_validate_json(full.to_compact_json()) == full


def test_stored_form_of_an_invalid_answer() -> None:
    """An answer kept for repair is read by workers of the earlier release, and theirs by ours."""
    kept = InvalidAnswer(text="a", validation_error="no JSON", cache_key="k")
    stored = json.loads(kept.to_json())
    assert (stored["complaint"], stored["content_key"]) == ("no JSON", "k")
    assert InvalidAnswer.model_validate(stored) == kept


def test_schemas_are_current() -> None:
    """The published schemas are those of the code: `python -m visionq.contract.publish`."""
    published = {path.name: path.read_text(encoding="utf-8") for path in SCHEMAS.iterdir()}
    assert published == schemas()


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_schema_knows_the_golden_fields(kind: str) -> None:
    """The schema names each field of the document and allows no other."""
    schema = json.loads(schemas()[f"{kind}.schema.json"])
    golden = json.loads((GOLDEN / f"{kind}-full.json").read_text(encoding="utf-8"))
    assert set(schema["properties"]) == set(golden)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_unknown_fields_are_refused(kind: str) -> None:
    """A field that the contract does not know is an error, never overlooked."""
    golden = json.loads((GOLDEN / f"{kind}-full.json").read_text(encoding="utf-8"))
    with pytest.raises(ValidationError, match="surprise"):
        DOCUMENTS[kind].model_validate(golden | {"surprise": 1})


def test_newer_schema_is_refused() -> None:
    """A job of a later schema is refused by name rather than misread."""
    golden = json.loads((GOLDEN / "job-full.json").read_text(encoding="utf-8"))
    with pytest.raises(InvalidJob, match="schema_version"):
        parse_job(golden | {"schema_version": 2})
