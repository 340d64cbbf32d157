"""A Redis that answers, and can't write: every job waits for it, and none fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import exceptions as redis_errors

from tests.support.ledger import LedgerDriver
from visionq.redis_connection import TRANSIENT_ERRORS, mapping_transient_errors

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Claim


@pytest.fixture
def claim(any_redis: Redis) -> Claim:
    return LedgerDriver(any_redis).begin()


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_settings(any_redis: Redis, claim: Claim, setting: str) -> None:
    """No call is let go where Redis refuses to write, and the error passes."""
    any_redis.config_set(setting, 1)
    try:
        with pytest.raises(TRANSIENT_ERRORS):
            LedgerDriver(any_redis).ledger.admit(claim)
    finally:
        any_redis.config_set(setting, 0)


@pytest.mark.parametrize(
    "text",
    [
        "MISCONF Errors writing to the AOF file: No space left on device",
        "Error running script (call to f_1): @user_script:2: -OOM command not allowed when used",
        "Error running script (call to f_1): @user_script:2: -READONLY You can't write",
    ],
)
def test_words(text: str) -> None:
    """Errors that Redis gives in words alone are known by them; a fault of our own is not."""
    with pytest.raises(TRANSIENT_ERRORS), mapping_transient_errors():
        raise redis_errors.ResponseError(text)
    with pytest.raises(redis_errors.ResponseError) as told, mapping_transient_errors():
        raise redis_errors.ResponseError("WRONGTYPE of key")
    assert not isinstance(told.value, TRANSIENT_ERRORS)
