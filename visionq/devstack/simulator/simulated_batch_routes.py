"""Routes of files and batches, for each address that has them."""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from visionq.devstack.simulator.dialects import UNIFIED
from visionq.devstack.simulator.faults import BatchFault
from visionq.devstack.simulator.model_calls import encoded
from visionq.devstack.simulator.refusals import by_openai, by_proxy
from visionq.devstack.simulator.simulated_batches import SimulatedBatches
from visionq.devstack.simulator.simulated_files import PIECE, SimulatedFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from visionq.devstack.simulator.account import Account
    from visionq.devstack.simulator.simulated_files import SimulatedFile


class BatchRoutes:
    """Files and batches of one account, while the application runs."""

    def __init__(
        self,
        account: Account,
        authenticate: Callable[[web.Request], None],
        cut: Callable[[web.Request], web.StreamResponse],
    ) -> None:
        """Charge `account`; `cut` ends a connection without an answer."""
        self._account = account
        self._authenticate = authenticate
        self._cut = cut
        self._directory = tempfile.TemporaryDirectory(prefix="visionq-simulator-")
        self.files = SimulatedFiles(Path(self._directory.name), self._now)
        self.batches = SimulatedBatches(account, self.files, self._now)

    def _now(self) -> float:
        return time.time() + self._account.settings.batch_clock_ahead_s

    def add_to(self, app: web.Application, base: str) -> None:
        """Add the routes under an address."""
        for method, path, handler in (
            ("POST", "/files", self._upload),
            ("GET", "/files", self._list_files),
            ("GET", "/files/{id}", self._file),
            ("GET", "/files/{id}/content", self._content),
            ("DELETE", "/files/{id}", self._delete),
            ("POST", "/batches", self._create),
            ("GET", "/batches", self._list),
            ("GET", "/batches/{id}", self._batch),
            ("POST", "/batches/{id}/cancel", self._cancel),
        ):
            app.router.add_route(method, base + path, partial(self._admitted, base, handler))

    def close(self) -> None:
        """Delete all files."""
        self._directory.cleanup()

    async def _admitted(
        self,
        base: str,
        handler: Callable[[str, web.Request], Awaitable[web.StreamResponse]],
        request: web.Request,
    ) -> web.StreamResponse:
        self._authenticate(request)
        is_elsewhere = self._account.dialect.unified and base == UNIFIED
        if is_elsewhere or not self._account.settings.batch_api:
            raise by_proxy(404, "Not Found")
        return await handler(base, request)

    async def _upload(self, _: str, request: web.Request) -> web.StreamResponse:
        if not request.content_type.startswith("multipart/"):
            raise by_openai("Expected a multipart form.", code=None)
        try:
            file = await self.files.receive(await request.multipart())
        except ValueError as error:
            raise by_openai(f"Not a multipart form: {error}", code=None) from None
        if self.batches.strikes(BatchFault.UPLOAD_LOST):
            return self._cut(request)
        return _json(file.to_public())

    async def _list_files(self, _: str, request: web.Request) -> web.StreamResponse:
        return _json(self.files.listed(request.query))

    async def _file(self, _: str, request: web.Request) -> web.StreamResponse:
        return _json(self.files.get(request.match_info["id"]).to_public())

    async def _delete(self, _: str, request: web.Request) -> web.StreamResponse:
        return _json(self.files.delete(request.match_info["id"]))

    async def _content(self, _: str, request: web.Request) -> web.StreamResponse:
        file = self.files.get(request.match_info["id"])
        start = _start(request.headers.get("Range", ""))
        status = 200
        if start is not None and self._account.settings.batch_ranges:
            if start >= file.bytes:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{file.bytes}"})
            status = 206
        return await self._sent(request, file, start or 0 if status == 206 else 0, status)  # noqa: PLR2004

    async def _sent(
        self, request: web.Request, file: SimulatedFile, start: int, status: int
    ) -> web.StreamResponse:
        rest = file.bytes - start
        is_cut = self.batches.strikes(BatchFault.DOWNLOAD_CUT)
        left = rest // 2 if is_cut else rest
        response = web.StreamResponse(status=status)
        response.content_type = "application/jsonl"
        response.content_length = rest
        await response.prepare(request)
        with file.path.open("rb") as content:  # from the page cache
            content.seek(start)
            while left and (piece := content.read(min(PIECE, left))):
                await response.write(piece)
                left -= len(piece)
        if is_cut:
            self._cut(request)
        return response

    async def _create(self, base: str, request: web.Request) -> web.StreamResponse:
        try:
            body: Any = json.loads(await request.read())
        except (ValueError, RecursionError):
            body = None
        batch = self.batches.create(base, body)
        if self.batches.strikes(BatchFault.CREATE_LOST):
            return self._cut(request)
        return _json(batch.to_public())

    async def _list(self, _: str, request: web.Request) -> web.StreamResponse:
        return _json(self.batches.listed(request.query))

    async def _batch(self, _: str, request: web.Request) -> web.StreamResponse:
        return _json(self.batches.get(request.match_info["id"]).to_public())

    async def _cancel(self, _: str, request: web.Request) -> web.StreamResponse:
        return _json(self.batches.cancel(request.match_info["id"]).to_public())


def _start(header: str) -> int | None:
    """Return the start of an open range (`bytes=100-`); None for anything else."""
    unit, _, span = header.partition("=")
    first, dash, last = span.partition("-")
    is_open = unit.strip() == "bytes" and dash and not last and first.isdecimal()
    return int(first[:15]) if is_open else None


def _json(value: object) -> web.Response:
    return web.Response(body=encoded(value), content_type="application/json", charset="utf-8")
