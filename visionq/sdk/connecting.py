"""Where a client's Redis is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.redis_url import parse_redis_url
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from visionq.settings import Settings

#: How a client's connections appear in Redis's `CLIENT LIST`.
CLIENT_NAME: Final = "visionq-client"


def redis_address(settings: Settings, redis_url: str | None) -> str:
    """Return the address that was given, else the one of the environment.

    Raises:
        ConfigurationError: there is neither, or it is of no known kind.
    """
    if redis_url is not None:
        try:
            return parse_redis_url(redis_url)
        except ValueError as error:
            raise ConfigurationError(f"redis_url: {error}") from None
    if settings.redis_url is None:
        raise ConfigurationError(
            "no address of Redis: set VISIONQ_REDIS_URL (redis://host:6379/0), or give redis_url"
        )
    return settings.redis_url.get_secret_value()
