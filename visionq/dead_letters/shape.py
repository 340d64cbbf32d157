"""What a message looks like, without what it says: prompts and pictures are nobody's business."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

_MOST_NAMES: Final = 40
_DEEPEST: Final = 3


def shape_of(raw: bytes) -> Any:  # noqa: ANN401  # any JSON
    """Return the message with every text and number replaced by its kind and length."""
    try:
        envelope = json.loads(raw)
    except (ValueError, RecursionError):
        return f"{len(raw)} bytes that are no JSON"
    if not isinstance(envelope, dict):
        return _shape(envelope, 0)
    headers = envelope.get("headers")
    return {
        "content_type": _shape(envelope.get("content-type"), 0),
        "headers": sorted(headers)[:_MOST_NAMES] if isinstance(headers, dict) else _shape(headers),
        "properties": "present" if "properties" in envelope else "absent",
        "body": _shape(_body(envelope), 0),
    }


def _body(envelope: dict[str, Any]) -> Any:  # noqa: ANN401  # likewise
    body, properties = envelope.get("body"), envelope.get("properties")
    encoding = properties.get("body_encoding") if isinstance(properties, dict) else None
    try:
        return json.loads(base64.b64decode(body or "") if encoding == "base64" else body or "null")
    except (ValueError, TypeError, RecursionError):
        return body


def _shape(value: Any, depth: int = 0) -> Any:  # noqa: ANN401  # likewise
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    if isinstance(value, dict) and depth < _DEEPEST:
        names = list(value)[:_MOST_NAMES]
        return {name[:_MOST_NAMES]: _shape(value[name], depth + 1) for name in names}
    if isinstance(value, list) and depth < _DEEPEST:
        return [_shape(item, depth + 1) for item in value[:_MOST_NAMES]]
    if isinstance(value, (dict, list)):
        return f"{len(value)} items"
    return "nothing" if value is None else type(value).__name__
