"""The version of the ledger's layout: which releases may work on the same Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.names import LEDGER_VERSION
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from redis import Redis

#: Raised when an older release would misread what a newer one writes. New optional fields and new
#: keys are no reason: scripts of one version work side by side.
VERSION: Final = 1


def check_version(redis: Redis) -> None:
    """Mark an empty ledger as ours; refuse one that another version has written.

    Raises:
        ConfigurationError: the ledger is older or newer than this release can work on.
    """
    redis.set(LEDGER_VERSION, VERSION, nx=True)
    stored = redis.get(LEDGER_VERSION)
    found = int(stored) if stored is not None else VERSION
    if found > VERSION:
        raise ConfigurationError(
            f"the ledger in this Redis is of version {found}, this release works on {VERSION}:"
            " run the newer release, or another Redis"
        )
    if found < VERSION:
        raise ConfigurationError(
            f"the ledger in this Redis is of version {found}, this release works on {VERSION}:"
            " let the older release finish its jobs first, then remove the key"
            f" {LEDGER_VERSION}"
        )
