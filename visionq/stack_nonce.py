"""How a part proves that the `visionq up` which looks for it is the one that started it.

Whatever else listens on its port, and answers 200 to everybody, does not know the nonce.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Variable by which `up` gives each of its children the nonce.
VARIABLE: Final = "VISIONQ_STACK_NONCE"
#: Header in which a child's health page gives it back.
HEADER: Final = "X-Visionq-Stack"


def nonce_headers(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the headers of a health page; none where nobody's `up` started this process."""
    nonce = environ.get(VARIABLE)
    return {HEADER: nonce} if nonce else {}
