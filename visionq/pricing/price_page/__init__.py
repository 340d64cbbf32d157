"""Read a price list that an operator copied from the provider's page, as HTML or text."""

from __future__ import annotations

from visionq.pricing.price_page.reading import MOST_BYTES, PagePrice, PricePage, read_price_page

__all__ = ["MOST_BYTES", "PagePrice", "PricePage", "read_price_page"]
