"""The same on RabbitMQ: another broker by its URL alone, with classic queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos.rabbitmq import running_rabbitmq
from tests.chaos.scenario import Scenario
from tests.chaos.scenarios.leases import takeover
from tests.chaos.scenarios.rolling import rolling, stopped
from tests.chaos.scenarios.storm import slow_storm, storm

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.scenario import Scene

#: Share of the sizes on Redis, for those whose size is a matter of time.
_SHARE: Final = 0.2


def _on_rabbitmq(run: Callable[[Scene], None], share: float = 1.0) -> Callable[[Scene], None]:
    def on_rabbitmq(scene: Scene) -> None:
        scene.scale *= share
        with running_rabbitmq(scene.folder / "rabbitmq") as server:
            scene.broker = server.url
            run(scene)

    return on_rabbitmq


SCENARIOS: Final = (
    Scenario(
        "rabbitmq-storm",
        "The storm with RabbitMQ between ledger and workers",
        _on_rabbitmq(storm, _SHARE),
        busy=True,
    ),
    Scenario(
        "rabbitmq-slow",
        "The storm on RabbitMQ, with calls that take three times as long as a lease",
        _on_rabbitmq(slow_storm, _SHARE),
    ),
    Scenario(
        "rabbitmq-takeover",
        "On RabbitMQ too a dead worker's jobs run elsewhere within 15 s at p99",
        _on_rabbitmq(takeover, 0.4),
    ),
    Scenario(
        "rabbitmq-rolling",
        "SIGTERM to worker after worker on RabbitMQ: none lost, none repeated",
        _on_rabbitmq(rolling, 0.4),
    ),
    Scenario(
        "rabbitmq-stopped",
        "On RabbitMQ too a worker that hangs and then dies takes no job with it",
        _on_rabbitmq(stopped, 0.4),
    ),
)
