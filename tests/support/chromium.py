"""Debian's Chromium without a window, driven by its own DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientSession

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import ClientWebSocketResponse

PROGRAM: Final = "chromium"
_FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
    # Nothing but this machine can be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Page:
    """One tab."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give one command and return its result; what happens meanwhile is passed over."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = json.loads(await self._socket.receive_str(timeout=30))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def open(self, url: str) -> None:
        await self.tell("Page.navigate", url=url)

    async def text(self) -> str:
        """Return what the page shows, as words with one space between them."""
        said = await self.tell("Runtime.evaluate", expression="document.body?.innerText ?? ''")
        return " ".join(said["result"]["value"].split())

    async def text_with(self, *words: str, seconds: float = 30) -> str:
        """Wait until the page shows all of these words; return what it shows."""
        return await self.text_matching(*map(re.escape, words), seconds=seconds)

    async def text_matching(self, *patterns: str, seconds: float = 30) -> str:
        """Wait until each pattern finds something on the page; return what it shows."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        text = await self.text()
        while not all(re.search(pattern, text) for pattern in patterns):
            assert loop.time() < end, f"{patterns} did not appear in:\n{text}"
            await asyncio.sleep(0.2)
            text = await self.text()
        return text

    async def screenshot(self) -> bytes:
        """Return what the window shows, as PNG."""
        taken = await self.tell("Page.captureScreenshot", format="png")
        return base64.b64decode(taken["data"])


@asynccontextmanager
async def browsing(program: str, folder: Path, size: tuple[int, int]) -> AsyncIterator[Page]:
    """Run a browser with an empty profile in `folder`; yield its one tab."""
    window = f"--window-size={size[0]},{size[1]}"
    command = [program, *_FLAGS, window, f"--user-data-dir={folder}", "about:blank"]
    with (folder.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220  # once
    try:
        port_file = folder / "DevToolsActivePort"
        until(lambda: port_file.exists() and "\n" in port_file.read_text(), 30, "Chromium")
        address = f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
        async with ClientSession() as session:
            async with session.get(f"{address}/json/list") as answer:
                pages = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as tab:
                yield Page(tab)
    finally:
        process.terminate()
        process.wait(10)
