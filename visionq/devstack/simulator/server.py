"""Run the simulator as a process."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Final

from aiohttp import web

from visionq.devstack.simulator.http_app import build_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.devstack.simulator.model_catalogue import Catalogue
    from visionq.devstack.simulator.simulator_settings import SimulatorSettings

log = logging.getLogger(__name__)

#: Seconds that calls under way get when the server ends.
GRACE: Final = 1.0
BACKLOG: Final = 1024


async def serve(
    host: str,
    port: int,
    catalogue: Catalogue,
    settings: SimulatorSettings,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; call `announce` with the address once ready.

    Port 0 is any free one. Raises `OSError` when the address can't be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    app = build_app(catalogue, settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE, keepalive_timeout=600)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=BACKLOG)
        await site.start()
        bound = runner.addresses[0]
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{bound[1]}")
        await stop.wait()
        log.info("simulator.stopping")
    finally:
        await runner.cleanup()
