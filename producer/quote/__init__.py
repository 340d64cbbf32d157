"""The price of a source before anything is sent: for `visionq quote`, `run` and the gateway."""

from producer.quote.census import Census, QuotePlan, take_census
from producer.quote.document import ModelQuote, Quote, RubleSpan
from producer.quote.making import make_quote
from producer.quote.model_facts import LearnedStatistics

__all__ = [
    "Census",
    "LearnedStatistics",
    "ModelQuote",
    "Quote",
    "QuotePlan",
    "RubleSpan",
    "make_quote",
    "take_census",
]
