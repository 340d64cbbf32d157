"""Fetch pictures from untrusted URLs.

`Fetcher.fetch` raises `unsafe_url`, `too_large` or `download_failed`, and nothing else.
"""

from __future__ import annotations

from worker.fetch.fetcher import Fetcher
from worker.fetch.guard import FetchPolicy, check_url, is_public

__all__ = ["FetchPolicy", "Fetcher", "check_url", "is_public"]
