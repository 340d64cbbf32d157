"""What a source will cost before anything is sent: `visionq quote`, `run` and the gateway."""

from producer.quote.census import Census, QuotePlan, take_census
from producer.quote.document import ModelQuote, Quote, RubleSpan
from producer.quote.making import make_quote, quote_of
from producer.quote.model_facts import Knowledge

__all__ = [
    "Census",
    "Knowledge",
    "ModelQuote",
    "Quote",
    "QuotePlan",
    "RubleSpan",
    "make_quote",
    "quote_of",
    "take_census",
]
