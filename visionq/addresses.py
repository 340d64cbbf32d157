"""Addresses as people may read them: host and path, without passwords, signatures and tokens."""

from __future__ import annotations

import re
from typing import Final

#: Scheme, user and password, host and path, query and fragment.
_ADDRESS: Final = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,15}://)"
    r"(?:[^\s/?#\"'<>]*@)?"
    r"(?P<place>[^\s?#\"'<>]*)"
    r"(?:[?#][^\s\"'<>]*)?",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Return the text with each address in it cut down to its host and path."""
    return _ADDRESS.sub(r"\g<scheme>\g<place>", text) if "://" in text else text
