"""The guarded fetcher: pictures from URLs that strangers name.

`Fetcher.fetch` raises `unsafe_url`, `too_large` or `download_failed`, and nothing else.
"""

from __future__ import annotations

from worker.fetch.addresses import is_public
from worker.fetch.fetcher import Fetcher
from worker.fetch.policy import FetchPolicy
from worker.fetch.urls import check_url

__all__ = ["FetchPolicy", "Fetcher", "check_url", "is_public"]
