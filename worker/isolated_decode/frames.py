"""Messages on a pipe: four bytes of length, then the content."""

from __future__ import annotations

from typing import IO, Final

_LENGTH: Final = 4


def write_frame(pipe: IO[bytes], content: bytes) -> None:
    """Send one message."""
    pipe.write(len(content).to_bytes(_LENGTH, "big") + content)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes:
    """Return the next message.

    Raises:
        EOFError: there is none, or only a part: whoever wrote has ended.
    """
    length = int.from_bytes(_exactly(pipe, _LENGTH), "big")
    return _exactly(pipe, length)


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError
    return content
