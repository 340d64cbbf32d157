"""A provider of batches that answers any line at once and holds none in memory.

As a program: `python -m benchmarks.batch_sink FOLDER` prints its port.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE: Final = 1 << 20
#: Where lines begin, and what of a line is looked at: its head has the id.
_HEAD: Final = re.compile(rb'\{"custom_id":"([\w-]+)","method"')
_OVERLAP: Final = 200
_BODY: Final = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "any",
    "output": [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "A picture.", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 900, "output_tokens": 4, "total_tokens": 904},
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    batches: Final[dict[str, dict[str, Any]]] = {}

    def do_GET(self) -> None:
        """Show a batch, send a file, or list nothing."""
        *_, kind, name = self.path.partition("?")[0].split("/")
        if name == "content":
            self._send_file(self.folder / kind)
        elif kind == "batches":
            self._send_json(self.batches[name])
        else:
            self._send_json({"object": "list", "data": [], "has_more": False})

    def do_POST(self) -> None:
        """Take a file, or make a batch of one, which has ended at once."""
        if self.path.endswith("/files"):
            file_id = f"file-{secrets.token_hex(8)}"
            ids = list(_custom_ids(self._pieces()))
            with (self.folder / file_id).open("w") as answers:
                answers.writelines(_answer(one) for one in ids)
            self._send_json({"id": file_id, "object": "file", "filename": "lines.jsonl"})
            return
        asked = json.loads(b"".join(self._pieces()))
        self._send_json(self._batch(asked))

    def do_DELETE(self) -> None:
        """Delete a file."""
        (self.folder / self.path.rpartition("/")[2]).unlink(missing_ok=True)
        self._send_json({"deleted": True})

    def _batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        name, result = f"batch_{secrets.token_hex(8)}", f"file-{secrets.token_hex(8)}"
        shutil.move(self.folder / asked["input_file_id"], self.folder / result)
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "status": "completed",
            "created_at": 1,
            "completed_at": 2,
            **{key: asked[key] for key in ("input_file_id", "endpoint", "metadata")},
            "output_file_id": result,
        }
        return self.batches[name]

    def _pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, _PIECE))
            left -= len(piece)
            yield piece

    def _send_json(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self._send_head(len(body), "application/json")
        self.wfile.write(body)

    def _send_file(self, path: Path) -> None:
        self._send_head(path.stat().st_size, "application/octet-stream")
        with path.open("rb") as file:
            shutil.copyfileobj(file, self.wfile, _PIECE)

    def _send_head(self, length: int, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _custom_ids(pieces: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        text = rest + piece
        end = 0
        for found in _HEAD.finditer(text):
            yield found[1].decode()
            end = found.end()
        rest = text[max(end, len(text) - _OVERLAP) :]


def _answer(custom_id: str) -> str:
    response = {"status_code": 200, "request_id": f"req_{custom_id}", "body": _BODY}
    return json.dumps({"custom_id": custom_id, "response": response, "error": None}) + "\n"


def main(folder: Path) -> None:
    """Serve until the end of the process."""
    _Handler.folder = folder
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        print(server.server_port, flush=True)  # noqa: T201  # for who has started it
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
