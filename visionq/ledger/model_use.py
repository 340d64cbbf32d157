"""Which models jobs are for now, or were lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from visionq.ledger.usage import split_kind
from visionq.names import LANE_SIZES, USAGE_KINDS

if TYPE_CHECKING:
    from collections.abc import Container

    from redis import Redis

#: Seconds for which a model that has answered counts as in use.
_LATELY: Final = 7 * 24 * 3600


class _All:
    def __contains__(self, _: object) -> bool:
        return True


_ANY: Final = _All()


def models_in_use(redis: Redis, now: float, among: Container[str] = _ANY) -> set[str]:
    """Return the models with queued jobs, and those that answered within the last week.

    `now` is seconds since the epoch; `among` leaves out other names.
    """
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(LANE_SIZES)
        pipeline.zrangebyscore(USAGE_KINDS, (now - _LATELY) * 1000, "+inf")
        lanes: Any
        kinds: Any
        lanes, kinds = pipeline.execute()
    queued = {lane.decode().split(":", 2)[2] for lane, size in lanes.items() if int(size) > 0}
    answered = {split_kind(kind.decode())[0] for kind in kinds}
    return {model for model in queued | answered if model in among}
