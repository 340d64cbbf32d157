"""Bodies of answers from outside, bounded as they are sent and as they are once unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterator


class BodyTooLong(httpx2.ReadError):
    """There is more of a body than is taken."""


def pieces(response: httpx2.Response, most: int) -> Iterator[bytes]:
    """Yield the unpacked body in pieces of about a megabyte, at most `most` bytes of it.

    Raises:
        BodyTooLong: it is longer, packed or unpacked; nothing beyond is held in memory.
        httpx2.DecodingError: it can't be unpacked, or is packed more than once: then a few bytes
            could take minutes and bring nothing.
    """
    if "," in response.headers.get("content-encoding", ""):
        raise httpx2.DecodingError("the body is packed more than once")
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if max(size, response.num_bytes_downloaded) > most:
            raise BodyTooLong("the body does not end")
        yield piece
