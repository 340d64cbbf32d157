"""`visionq gateway` and `visionq keys`: run the gateway, manage its keys."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from producer.gateway.access import (
    Key,
    Scope,
    add_key,
    describe_key,
    digest_of,
    list_keys,
    new_secret,
    revoke_key,
)
from producer.gateway.gateway_settings import load_gateway_settings
from visionq.cli.filters import DEFAULT_TENANT, tenant_option
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    errors_as_json,
    find_redis_url,
    json_option,
    open_ledger,
    print_json,
)
from visionq.http_checks import is_loopback
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import ConfigurationError, load_settings

if TYPE_CHECKING:
    from producer.gateway.gateway_settings import GatewaySettings


@click.command()
@click.option("--address", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: 8000]")
@click.option(
    "--files-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps uploaded files and results of batches, for all gateways.",
)
@click.option(
    "--name", default="visionq-gateway", show_default=True, help="Shows in the process list."
)
def gateway(
    address: str | None,
    port: int | None,
    files_dir: Path | None,
    name: str,  # noqa: ARG001  # for `ps` alone
) -> None:
    """Serve OpenAI's API, and a small one for curl, to clients with a key.

    Create keys with `visionq keys create`. On loopback, if there is none, one is made for this run
    and shown once; beyond loopback the gateway then refuses to listen.
    """
    settings = load_settings()
    ours = load_gateway_settings(address=address, port=port, files_dir=files_dir)
    redis_url = find_redis_url(settings)
    own_keys = _own_keys(ours, redis_url)

    from producer.gateway.application import serve  # noqa: PLC0415  # FastAPI takes a second to import
    from producer.gateway.dependencies import Setup  # noqa: PLC0415  # likewise

    ours.files.mkdir(parents=True, exist_ok=True, mode=0o700)
    # For uploads in progress: /tmp is memory in many containers.
    tempfile.tempdir = str(ours.files)
    serve(Setup(settings, ours, redis_url, own_keys))


def _own_keys(settings: GatewaySettings, redis_url: str) -> dict[str, Key]:
    """Return the keys that are not in Redis, by digest.

    Raises:
        ConfigurationError: others can reach the gateway, and there is no key.
    """
    secret = settings.key.get_secret_value() if settings.key else None
    if secret is None:
        with connect(redis_url, "visionq-cli") as redis, as_queue_unavailable():
            if list_keys(redis):
                return {}
        if not is_loopback(settings.address):
            raise ConfigurationError(
                f"--address: {settings.address} can be reached by others, and there"
                " is no key: create one with `visionq keys create`"
            )
        secret = new_secret()
        click.echo(f"There is no key yet; for this run: {secret}", err=True)
    return {digest_of(secret): describe_key(secret, DEFAULT_TENANT, "own", Scope)}


@click.group()
def keys() -> None:
    """Create, list and revoke the keys of the gateway."""


@keys.command()
@tenant_option
@click.option("--name", default="", help="The purpose of the key.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    help="Repeat for more.  [default: all]",
)
@json_option
def create(*, tenant: str, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create a key and show it once: it can't be looked up later."""
    with errors_as_json(as_json), open_ledger() as ledger:
        secret = new_secret()
        key = describe_key(secret, tenant, name, map(Scope, scopes or Scope))
        add_key(ledger.redis, secret, key)
    if as_json:
        print_json({**_public(key), "key": secret})
    else:
        click.echo(secret)
        click.echo(f"{key.id} of tenant {tenant}; keep it now, it is not shown again", err=True)


@keys.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the keys without their secrets."""
    with errors_as_json(as_json):
        with open_ledger() as ledger:
            known = list(list_keys(ledger.redis).values())
        if as_json:
            print_json([_public(key) for key in known])
            return
        for key in known:
            scopes = ",".join(sorted(key.scopes))
            made = key.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
            click.echo(f"{key.id}  {made}  {key.tenant}  {scopes}  {key.name}".rstrip())
        if not known:
            click.echo("no keys")


@keys.command()
@click.argument("key_id", metavar="ID")
@json_option
def revoke(*, key_id: str, as_json: bool) -> int:
    """Revoke a key, from the next request on."""
    with errors_as_json(as_json), open_ledger() as ledger:
        revoked = revoke_key(ledger.redis, key_id)
    if as_json:
        print_json({"id": key_id, "revoked": revoked})
    else:
        click.echo(f"{key_id} {'revoked' if revoked else 'is not known'}", err=not revoked)
    return EXIT_OK if revoked else EXIT_FAILED


def _public(key: Key) -> dict[str, object]:
    return {**key.to_public(), "scopes": sorted(key.scopes)}
