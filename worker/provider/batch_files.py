"""Write the request lines of a batch file, and read its result lines.

A line asks with the body of the online call, byte for byte, and its answer is read by the code that
reads online answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from visionq.errors import BillingUnknown, ProviderUnavailable, VisionqError
from worker.provider.answer import ProviderAnswer, read_answer
from worker.provider.reply import Reply, parse_json, public

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from visionq.pricing.batch_lane import BatchLimits
    from worker.provider.request import ProviderRequest

#: Bytes. As long as an online answer may be.
_LONGEST_LINE: Final = 16 * 1024 * 1024
_LONGEST_ID: Final = 256
#: Errors of a line that was never asked, so that nothing was billed (OpenAI's API reference, 2026).
_NEVER_ASKED: Final = frozenset({"batch_expired", "batch_cancelled"})


def line_of(custom_id: str, request: ProviderRequest) -> bytes:
    """Return the batch line of a request, with its newline."""
    head = {"custom_id": custom_id, "method": "POST", "url": f"/v1{request.path}"}
    start = json.dumps(head, separators=(",", ":"), ensure_ascii=True)[:-1].encode()
    return b"".join((start, b',"body":', request.body, b"}\n"))


class BatchFile:
    """A file of lines to upload, filled up to the provider's limits; a context manager."""

    def __init__(self, path: Path, limits: BatchLimits) -> None:
        """Create an empty file at `path`, replacing any."""
        self.path = path
        self.lines = 0
        self.bytes = 0
        self.tokens = 0
        self._limits = limits
        self._file: BinaryIO = path.open("wb")

    def add(self, custom_id: str, request: ProviderRequest, tokens: int) -> bool:
        """Append a line; return False, having written nothing, if a limit would be surpassed.

        Args:
            custom_id: by which the answer is recognised; once in a file.
            request: what the online call would send.
            tokens: what the provider will count as enqueued: the forecast of the input.
        """
        line = line_of(custom_id, request)
        fits = self.fits(line, tokens)
        if fits:
            self.write(line, tokens)
        return fits

    def fits(self, line: bytes, tokens: int) -> bool:
        """Return whether there is room for a line, as `line_of` makes it."""
        limits = self._limits
        return (
            self.lines + 1 <= limits.lines
            and self.bytes + len(line) <= limits.bytes
            and self.tokens + tokens <= limits.enqueued_tokens
        )

    def write(self, line: bytes, tokens: int) -> None:
        """Append a line that fits."""
        self._file.write(line)
        self.lines += 1
        self.bytes += len(line)
        self.tokens += tokens

    def __enter__(self) -> Self:
        """Return the file, open for `add`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file, which is whole then."""
        self._file.close()


@dataclass(frozen=True)
class BatchLineResult:
    """The result of one line."""

    custom_id: str
    #: What the online call would have got; None: the line was not asked, or it is not known.
    reply: Reply | None = None
    #: `batch_expired`, `batch_cancelled`, `request_timeout`, …, where there is no reply.
    error_code: str | None = None
    error_text: str = ""

    @property
    def was_asked(self) -> bool:
        """Return whether the model may have been asked: only then can the line cost something."""
        return self.reply is not None or self.error_code not in _NEVER_ASKED

    def answer(self, request: ProviderRequest, *, now: float) -> ProviderAnswer:
        """Return the answer, as `worker.provider.provider_client.ask` would.

        Raises:
            ProviderUnavailable: the line was never asked; nothing was billed.
            BillingUnknown: the line has neither an answer nor a refusal.
            VisionqError: as `read_answer`.
        """
        if self.reply is not None:
            return read_answer(self.reply, request, now=now)
        raise self._failure()

    def _failure(self) -> VisionqError:
        said = public(": ".join(filter(None, (self.error_code, self.error_text))) or "no answer")
        if not self.was_asked:
            return ProviderUnavailable(f"the batch ended before its line was asked ({said})")
        return BillingUnknown(f"the line of the batch brought no answer ({said})")


def read_line(line: bytes) -> BatchLineResult | None:
    """Parse a line of a result file; None without `custom_id`."""
    document = parse_json(line)
    custom_id = _dict(document).get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _LONGEST_ID:
        return None
    response, error = (_dict(_dict(document).get(name)) for name in ("response", "error"))
    status = response.get("status_code")
    if isinstance(status, int) and not isinstance(status, bool) and response.get("body"):
        headers = {"x-request-id": str(response.get("request_id") or "")}
        body = json.dumps(response["body"], ensure_ascii=True).encode()
        return BatchLineResult(custom_id, Reply(status, headers, body))
    code, message = error.get("code"), error.get("message")
    return BatchLineResult(
        custom_id,
        error_code=str(code)[:_LONGEST_ID] if code else None,
        error_text=message if isinstance(message, str) else "",
    )


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a body that comes in pieces, without their newlines.

    Blank ones are left out. One that is longer than any answer is yielded cut, so that it can't be
    read; no more of it is held.
    """
    rest = bytearray()
    for piece in pieces:
        *whole, last = piece.split(b"\n")
        for part in whole:
            _extend(rest, part)
            if rest.strip():
                yield bytes(rest)
            rest.clear()
        _extend(rest, last)
    if rest.strip():
        yield bytes(rest)


def _extend(line: bytearray, part: bytes) -> None:
    line += part[: max(0, _LONGEST_LINE - len(line))]


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
