"""The gateway as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import uvicorn

from producer.gateway.app import build_app
from visionq.redaction import keep_content_out_of_logs

if TYPE_CHECKING:
    from producer.gateway.services import Setup

#: Seconds that calls under way get when the process ends; their jobs go on, and can be fetched.
_GRACE: Final = 2
_BACKLOG: Final = 2048


def serve(setup: Setup) -> None:
    """Serve until SIGTERM or SIGINT."""
    keep_content_out_of_logs()
    address, port = setup.gateway.address, setup.gateway.port
    shown = f"[{address}]" if ":" in address else address
    click.echo(f"The gateway listens on http://{shown}:{port}/", err=True)
    uvicorn.run(
        build_app(setup),
        host=address,
        port=port,
        access_log=False,
        log_level=setup.settings.log_level.lower(),
        backlog=_BACKLOG,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
