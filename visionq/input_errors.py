"""Messages for invalid input: one table for every pydantic model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

#: Fields that are named beside the first one that is wrong.
_ALSO_NAMED: Final = 3
#: Of what a caller calls the kind of a thing.
_LONGEST_TAG: Final = 64

_AN_OBJECT: Final = "must be an object"
_A_LIST: Final = "must be a list"
_A_NUMBER: Final = "must be a number"
_A_WHOLE_NUMBER: Final = "must be a whole number"
_A_DATE: Final = "must be a date, as in 2026-11-30"
_A_MOMENT: Final = "must be a time, as in 2026-11-30T12:00:00+03:00"
_A_TIME_OF_DAY: Final = "must be a time of day, as in 12:00"
_SECONDS: Final = "must be a number of seconds"
_AN_ADDRESS: Final = "must be an address, as in https://example.com/a.jpg"

#: pydantic's type of error → what we say of it, with the values of its context. Errors that our own
#: validators raise have their words already.
WORDS: Final[Mapping[str, str]] = {
    "missing": "missing",
    "extra_forbidden": "there is no such field",
    "invalid_key": "names of fields must be strings",
    "none_required": "must be null",
    "json_invalid": "not JSON: {error}",
    "json_type": "must be JSON text",
    "recursion_loop": "refers to itself",
    "recursion_depth_exceeded": "nested too deep",
    "iteration_error": "can't be read to its end",
    "model_type": _AN_OBJECT,
    "model_attributes_type": _AN_OBJECT,
    "dict_type": _AN_OBJECT,
    "mapping_type": _AN_OBJECT,
    "dataclass_type": _AN_OBJECT,
    "list_type": _A_LIST,
    "tuple_type": _A_LIST,
    "set_type": _A_LIST,
    "frozen_set_type": _A_LIST,
    "iterable_type": _A_LIST,
    "set_item_not_hashable": "must hold plain values",
    "too_short": "must have at least {min_length}, not {actual_length}",
    "too_long": "must have at most {max_length}, not {actual_length}",
    "string_type": "must be a string",
    "string_unicode": "must be a string of valid Unicode",
    "string_not_ascii": "must be ASCII",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "bytes_type": "must be bytes",
    "bytes_too_short": "must have at least {min_length} bytes",
    "bytes_too_long": "must have at most {max_length} bytes",
    "bytes_invalid_encoding": "must be {encoding}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": _A_WHOLE_NUMBER,
    "int_parsing": _A_WHOLE_NUMBER,
    "int_from_float": _A_WHOLE_NUMBER,
    "int_parsing_size": "has too many digits",
    "float_type": _A_NUMBER,
    "float_parsing": _A_NUMBER,
    "finite_number": "must be a finite number",
    "decimal_type": _A_NUMBER,
    "decimal_parsing": _A_NUMBER,
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the decimal point",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "{tag!r} is not supported; give {expected_tags}",
    "union_tag_not_found": "must name its kind in {discriminator}",
    "date_type": _A_DATE,
    "date_parsing": _A_DATE,
    "date_from_datetime_parsing": _A_DATE,
    "date_from_datetime_inexact": _A_DATE,
    "date_past": "must be a date that has passed",
    "date_future": "must be a date to come",
    "datetime_type": _A_MOMENT,
    "datetime_parsing": _A_MOMENT,
    "datetime_object_invalid": _A_MOMENT,
    "datetime_from_date_parsing": _A_MOMENT,
    "datetime_past": "must be a time that has passed",
    "datetime_future": "must be a time to come",
    "timezone_aware": "must name its time zone, as in 2026-11-30T12:00:00+03:00",
    "timezone_naive": "must name no time zone",
    "timezone_offset": "must be of another time zone",
    "time_type": _A_TIME_OF_DAY,
    "time_parsing": _A_TIME_OF_DAY,
    "time_delta_type": _SECONDS,
    "time_delta_parsing": _SECONDS,
    "url_type": _AN_ADDRESS,
    "url_parsing": _AN_ADDRESS,
    "url_syntax_violation": _AN_ADDRESS,
    "url_too_long": "must have at most {max_length} characters",
    "url_scheme": "must begin with {expected_schemes}",
    "uuid_type": "must be a UUID",
    "uuid_parsing": "must be a UUID",
    "uuid_version": "must be a UUID of version {expected_version}",
    "is_instance_of": "must be a {class}",
    "path_type": "must be a path",
}


def wording(error: Mapping[str, Any]) -> str:
    """Describe one of pydantic's errors, without the offending value."""
    said = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    words = WORDS.get(error["type"])
    if words is None:
        return said
    context = {"tag": "", **error.get("ctx", {})}
    if context.get("min_length") == 1 or context.get("actual_length") == 0:
        return "must not be empty"
    return words.format_map(context | {"tag": str(context["tag"])[:_LONGEST_TAG]})


def describe(error: ValidationError) -> str:
    """Return one line: the first wrong field and why, and other wrong ones."""
    errors = error.errors(include_url=False, include_input=False)
    fields = [".".join(str(part) for part in one["loc"]) or "document" for one in errors]
    return f"{fields[0]}: {wording(errors[0])}{also(fields)}"


def also(fields: list[str]) -> str:
    """Name the fields beside the first of them that are wrong too."""
    others = [field for field in dict.fromkeys(fields) if field != fields[0]]
    if not others:
        return ""
    more = f" and {len(others) - _ALSO_NAMED} more" if len(others) > _ALSO_NAMED else ""
    return f"; also wrong: {', '.join(others[:_ALSO_NAMED])}{more}"
