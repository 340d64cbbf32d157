"""Noting which models the provider lists, for those who may not have the key: the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from visionq.contract.limits import MODEL_NAME
from visionq.names import PROVIDER_MODELS, WATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis import Redis

#: Seconds: one process of the fleet asks.
_REST: Final = 600
#: Seconds for which a list is good that can't be had again.
_KEPT: Final = 7 * 24 * 3600
_MOST: Final = 5_000


@dataclass(frozen=True)
class Models:
    """Writes down the provider's models now and then."""

    redis: Redis
    read_models: Callable[[], Iterable[object]]

    def attend(self) -> None:
        """Ask, unless another process has lately; what can't be had leaves the list as it is."""
        if not self.redis.set(f"{WATCH}models-read", "1", ex=_REST, nx=True):
            return
        names = [str(name) for name in islice(filter(_is_name, self.read_models()), _MOST)]
        if not names:
            return
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(PROVIDER_MODELS)
            pipeline.sadd(PROVIDER_MODELS, *names)
            pipeline.expire(PROVIDER_MODELS, _KEPT)
            pipeline.execute()


def _is_name(name: object) -> bool:
    try:
        MODEL_NAME.validate_python(name, strict=True)
    except ValidationError:
        return False
    return True
