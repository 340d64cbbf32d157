"""Messages that no worker could work on: kept with the reason, to be looked at and sent again."""

from visionq.dead_letters.letters import BrokerMessage, DeadLetter, Reason
from visionq.dead_letters.shape import shape_of
from visionq.dead_letters.store import Bounds, DeadLetters

__all__ = ["Bounds", "BrokerMessage", "DeadLetter", "DeadLetters", "Reason", "shape_of"]
