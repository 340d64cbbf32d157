"""Messages about wrong values: in our own words, for every finding of pydantic."""

from __future__ import annotations

import importlib
import pkgutil
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core.core_schema import ErrorType

import monitoring.flower.flower_settings
import producer
import visionq
from visionq.contract import JobDocument
from visionq.input_errors import WORDS, describe, wording

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Errors that bring words of visionq: those of validators.
OWN: Final = frozenset({"value_error", "assertion_error"})
#: Errors of kinds of values that no model of visionq has.
NOT_OURS: Final = frozenset(
    (
        *("no_such_attribute", "needs_python_object", "get_attribute_error"),
        *("frozen_field", "frozen_instance", "default_factory_not_called"),
        *("dataclass_exact_type", "named_tuple_type", "frozen_dict_type", "ordered_dict_type"),
        *("counter_type", "deque_type", "missing_sentinel_error", "ellipsis_error"),
        *("is_subclass_of", "callable_type", "arguments_type", "missing_argument"),
        *("unexpected_keyword_argument", "missing_keyword_only_argument"),
        *("unexpected_positional_argument", "missing_positional_only_argument"),
        *("multiple_argument_values", "fraction_type", "fraction_parsing"),
        *("complex_type", "complex_str_parsing"),
    )
)
RUBBISH: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        -1,
        0,
        10**400,
        1.5,
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        b"\xff",
        object(),
    ),
    *("", "?", "x" * 1_000_001, "\ud800", "1,5", "2026-13-45", "abc:def", "1" * 5_000),
    *(
        [],
        [None],
        ["?", "?"],
        [[]],
        {},
        {"?": "?"},
        {1: 2},
        {"kind": "?"},
        {"type": "?"},
        set(),
        (),
    ),
)


def models() -> list[type[BaseModel]]:
    """Return every pydantic model of the packages that read what comes from outside."""
    for package in (visionq, producer):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    assert monitoring.flower.flower_settings
    return sorted(set(_below(BaseModel)), key=lambda model: model.__qualname__)


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in model.__subclasses__():
        if child.__module__.split(".")[0] in {"visionq", "producer", "monitoring"}:
            yield child
        yield from _below(child)


def errors_of(model: type[BaseModel], fields: object) -> list[Any]:
    try:
        model.model_validate(fields)
    except ValidationError as error:
        found = error
    except (TypeError, AttributeError, OverflowError, ValueError):
        return []
    else:
        return []
    return list(found.errors(include_input=False, include_url=False))


def test_every_type_of_error_has_its_words() -> None:
    """No type of error that pydantic knows is without a row, but those that can't arise."""
    assert set(get_args(ErrorType)) - OWN - NOT_OURS <= set(WORDS)
    assert not NOT_OURS & set(WORDS)


def test_no_model_speaks_as_pydantic_does() -> None:
    """For any value of a model's field, the message comes from the table, filled in."""
    known, found = set(get_args(ErrorType)), set()
    for model in models():
        cases = [dict.fromkeys(model.model_fields, value) for value in RUBBISH]
        for fields in (*cases, *RUBBISH, {"no_such": 1}):
            for error in errors_of(model, fields):
                kind = error["type"]
                found.add(kind)
                assert kind in WORDS or kind in OWN or kind not in known, (model, fields, error)
                said = wording(error)
                assert said
                assert "{" not in WORDS.get(kind, "") or said != WORDS[kind]
    assert len(found) > 25


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": ""}, "prompt: must not be empty; also wrong: images"),
        ({"prompt": "?", "images": []}, "images: must not be empty"),
        ({"prompt": 5, "images": [{"url": "a"}]}, "prompt: must be a string"),
        ({"prompt": "?", "images": [{"url": "a"}], "temperature": 3}, "temperature: must be at"),
        ({"prompt": "?", "images": [{"url": "a"}], "colour": 3}, "colour: there is no such field"),
        (
            dict.fromkeys("abcde", 1) | {"prompt": "?", "images": [{"url": "a"}]},
            "a: there is no such field; also wrong: b, c, d and 1 more",
        ),
        ({"prompt": "?", "images": [{"url": "a"}], "detail": "big"}, "detail: must be 'auto', "),
    ],
)  # fmt: skip
def test_what_is_said(fields: dict[str, Any], said: str) -> None:
    """The line names the field, says what it must be, and which other fields are wrong."""
    with pytest.raises(ValidationError) as raised:
        JobDocument.model_validate(fields)
    assert describe(raised.value).startswith(said)
