"""Where a client's Redis is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from visionq.settings import Settings

#: How a client's connections appear in Redis's `CLIENT LIST`.
CLIENT_NAME: Final = "visionq-client"
_SCHEMES: Final = ("redis", "rediss", "unix")


def redis_address(settings: Settings, redis_url: str | None) -> str:
    """Return the address that was given, else the one of the environment.

    Raises:
        ConfigurationError: there is neither, or it is of no known kind.
    """
    url = redis_url
    if url is None and settings.redis_url is not None:
        url = settings.redis_url.get_secret_value()
    if url is None:
        raise ConfigurationError(
            "no address of Redis: set VISIONQ_REDIS_URL (redis://host:6379/0), or give redis_url"
        )
    if urlsplit(url).scheme not in _SCHEMES:
        # The address itself may hold a password.
        raise ConfigurationError(
            "the address of Redis must begin with redis://, rediss:// or unix://:"
            " look at VISIONQ_REDIS_URL"
        )
    return url
