"""`visionq mcp`."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producer.mcp_server.roots import open_roots
from producer.stack import found_stack
from visionq.cli.filters import POSITIVE_AMOUNT, take_tenant
from visionq.installation import check_extras
from visionq.settings import load_settings
from visionq.user_files import user_directory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from decimal import Decimal

    from mcp.server.mcpserver import MCPServer

    from producer.mcp_server.roots import Roots
    from visionq.settings import Settings

#: Characters of a token.
_SHORTEST: Final = 16


@click.command()
@click.argument("roots", metavar="ROOT…", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--max-rub",
    type=POSITIVE_AMOUNT,
    required=True,
    help="Most rubles that agents may spend through this tenant, earlier spending included.",
)
@click.option(
    "--tenant", default="mcp", show_default=True, callback=take_tenant, help="Tenant to charge."
)
@click.option(
    "--http", "port", type=click.IntRange(1, 65535), help="Serve HTTP on this local port."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the token of --http; created if absent.  [default: a new token each time]",
)
def mcp(
    *,
    roots: tuple[Path, ...],
    max_rub: Decimal,
    tenant: str,
    port: int | None,
    token_file: Path | None,
) -> None:
    """Give agents tools to quote, sample and run questions about the pictures in ROOT….

    Speaks the Model Context Protocol on stdin and stdout, or over HTTP. Paths outside of the roots
    are refused; the budget is kept in Redis, so that no agent overspends.
    """  # fmt: skip
    check_extras("visionq mcp", ("mcp",))
    allowed = open_roots(roots)
    settings = load_settings()
    token = None if port is None else _token(token_file)
    with found_stack(settings) as stack:
        asyncio.run(_serve(_Plan(allowed, settings, stack.redis_url, max_rub, tenant, port, token)))


@dataclass(frozen=True, slots=True)
class _Plan:
    roots: Roots
    settings: Settings
    redis_url: str
    max_rub: Decimal
    tenant: str
    port: int | None
    token: str | None


async def _serve(plan: _Plan) -> None:
    from producer.mcp_server.agent_tools import AgentTools, make_server  # noqa: PLC0415  # an extra
    from producer.mcp_server.runs_of_agents import AgentRuns  # noqa: PLC0415
    from visionq.sdk import AsyncClient  # noqa: PLC0415

    environment = {**os.environ, "VISIONQ_REDIS_URL": plan.redis_url}
    folder = user_directory("DATA", ".local/share", os.environ) / "mcp" / plan.tenant
    runs = AgentRuns(plan.roots, folder, environment, plan.tenant, time.monotonic)
    async with AsyncClient(plan.settings, plan.redis_url) as client:
        await client.set_budget(tenant=plan.tenant, total=plan.max_rub)
        server = make_server(AgentTools(plan.roots, runs, client, plan.tenant))
        try:
            if plan.port is None or plan.token is None:
                await server.run_stdio_async()
            else:
                await _serve_http(server, plan.port, plan.token)
        finally:
            await runs.close()


async def _serve_http(server: MCPServer[Any], port: int, token: str) -> None:
    import uvicorn  # noqa: PLC0415  # an extra

    app = _with_token(server.streamable_http_app(), token)
    click.echo(f"http://127.0.0.1:{port}/mcp", err=True)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")
    await uvicorn.Server(config).serve()


def _token(path: Path | None) -> str:
    """Return the token of a file, or a new one."""
    token = secrets.token_urlsafe(32)
    if path is None:
        click.echo(f"Authorization: Bearer {token}", err=True)
        return token
    try:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{token}\n")
        token = path.read_text("utf-8").strip()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--token-file") from None
    except UnicodeDecodeError:
        token = ""
    if len(token) < _SHORTEST or not (token.isascii() and token.isprintable()):
        said = f"{path}: not {_SHORTEST} or more ASCII characters: remove it to get a new token"
        raise click.BadParameter(said, param_hint="--token-file")
    return token


def _with_token(app: Any, token: str) -> Callable[..., Awaitable[None]]:  # noqa: ANN401  # ASGI
    """Refuse requests without the token."""
    expected = f"Bearer {token}".encode()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        if scope["type"] == "websocket":
            return  # refused by the server
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, expected):
                headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    return guarded
