"""`visionq flower`: Celery's own window on tasks and workers, never without a password."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

import click
from pydantic import ValidationError

from monitoring.flower.flower_settings import ADDRESS, OPERATOR, PORT, FlowerSettings
from visionq.cli.shared import find_redis_url
from visionq.input_errors import describe
from visionq.redaction import keep_content_out_of_logs
from visionq.settings import ConfigurationError, load_settings
from visionq.user_files import user_directory

_CONFIG: Final = Path(__file__).parents[1] / "flowerconfig.py"
_VARIABLE: Final = "VISIONQ_FLOWER_"


@click.command()
@click.option("--address", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: 5555]")
@click.option("--url-prefix", help="Path below which a reverse proxy shows it.")
@click.option("--database", type=click.Path(dir_okay=False), help="Keeps what was seen.")
def flower(
    address: str | None, port: int | None, url_prefix: str | None, database: str | None
) -> None:
    """Show tasks and workers in a browser, behind a user and a password.

    They are `visionq` and VISIONQ_FLOWER_PASSWORD; without a password one is made up and shown
    once. With VISIONQ_FLOWER_GUEST_PASSWORD the user `guest` may look but change nothing.
    """
    if url_prefix is not None:
        os.environ[_VARIABLE + "URL_PREFIX"] = url_prefix
    flowers = _read_settings()
    settings = load_settings()
    redis_url = find_redis_url(settings)
    keep_content_out_of_logs()
    os.umask(0o077)  # its file tells of everybody's jobs

    from monitoring.flower.flower_app import create_app  # noqa: PLC0415  # Celery takes seconds to import

    _announce(flowers, address or ADDRESS, port or PORT)
    options = {
        "conf": _CONFIG,
        "address": address or ADDRESS,
        "port": port or PORT,
        "persistent": True,
        "db": database or _default_database(),
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    create_app(settings, redis_url).start(["--quiet", "flower", *arguments])


def _read_settings() -> FlowerSettings:
    try:
        return FlowerSettings()
    except ValidationError as error:
        raise ConfigurationError(f"environment: {_VARIABLE}…: {describe(error)}") from None


def _default_database() -> Path:
    folder = user_directory("DATA", ".local/share", os.environ)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "visionq-flower"


def _announce(settings: FlowerSettings, address: str, port: int) -> None:
    """Print where Flower listens, and the password if one has to be made up."""
    if settings.password is None:
        password = token_urlsafe(12)
        os.environ[_VARIABLE + "PASSWORD"] = password  # for Flower's configuration file
        click.echo(f"Flower: user {OPERATOR}, password {password}", err=True)
    click.echo(f"Flower listens on http://{address}:{port}{settings.url_prefix}/", err=True)
