"""Which addresses of pictures may be fetched, as far as their text alone tells."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from visionq.errors import UnsafeUrl

MAX_LENGTH: Final = 8192
_LARGEST_PORT: Final = 65535
#: Backslashes and blanks are read differently by different programs.
_AMBIGUOUS: Final = re.compile(r"[\\\s\x00-\x20\x7f]")
#: Also a user whose name is empty.
_HAS_USER: Final = re.compile(r"[^/?#]*//[^/?#]*@")


def check_url_text(text: str, name: str) -> None:
    """See that an address can be one of a picture; commands and workers judge by this.

    Raises:
        UnsafeUrl: what is wrong with it, with `image=name`.
    """
    if len(text) > MAX_LENGTH or _AMBIGUOUS.search(text):
        raise UnsafeUrl("the URL is too long or holds blanks or backslashes", image=name)
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise UnsafeUrl("the URL can't be read", image=name) from None
    if url.scheme not in {"http", "https"}:
        raise UnsafeUrl("only http and https are fetched", image=name)
    if _HAS_USER.match(text):
        raise UnsafeUrl("a URL with a user name or password is not fetched", image=name)
    if not host:
        raise UnsafeUrl("the URL has no valid host", image=name)
    if port is not None and not 1 <= port <= _LARGEST_PORT:
        raise UnsafeUrl(f"there is no port {port}", image=name)
