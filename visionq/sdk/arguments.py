"""Check the arguments of the clients' methods before anything else happens."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from numbers import Integral, Real
from typing import IO, Any, Final

from visionq.contract import ImageReference
from visionq.redis_url import parse_redis_url
from visionq.sdk.job_handles import AsyncJob, Job
from visionq.settings import ConfigurationError, Settings

#: A path, an `http(s):` or `data:` URL, bytes, `(name, bytes)`, a file open for reading bytes, or
#: a reference as the contract has it.
ImageInput = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | tuple[str, bytes]
    | IO[bytes]
    | ImageReference
    | Mapping[str, Any]
)

#: Default limit of jobs that `stream` has out: enough to keep a fleet busy.
WINDOW: Final = 1_000
#: Characters of a wrong text that messages show.
_SHOWN: Final = 40
#: Seconds; a longer timeout counts as none, and some clocks can't hold it.
_FOR_EVER: Final = 1e9


def shown(value: object) -> str:
    """Return the type of a wrong argument, and the beginning of a text."""
    kind = type(value).__name__
    return f"{kind} {value[:_SHOWN]!a}" if isinstance(value, str) else kind


def _refusal(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name}: give {wanted}, not {shown(value)}")


def check_client(settings: object, redis_url: object) -> None:
    """Raise `TypeError` for wrong arguments of a client."""
    if settings is not None and not isinstance(settings, Settings):
        raise _refusal("settings", "Settings, or redis_url=… for an address", settings)
    if redis_url is not None and not isinstance(redis_url, str):
        raise _refusal("redis_url", "an address as redis://host:6379/0", redis_url)


def redis_address(settings: Settings, redis_url: str | None) -> str:
    """Return `redis_url`, by default the one in the settings.

    Raises:
        ConfigurationError: neither is set, or the address is malformed.
    """
    if redis_url is not None:
        try:
            return parse_redis_url(redis_url)
        except ValueError as error:
            raise ConfigurationError(f"redis_url: {error}") from None
    if settings.redis_url is None:
        raise ConfigurationError(
            "no address of Redis: set VISIONQ_REDIS_URL (redis://host:6379/0), or give redis_url"
        )
    return settings.redis_url.get_secret_value()


def check_job(job: object) -> str:
    """Return the id of a job or of its handle; raise `TypeError` or `ValueError`."""
    if isinstance(job, (Job, AsyncJob)):
        return job.id
    if isinstance(job, str):
        try:
            job.encode()
        except UnicodeEncodeError:
            raise ValueError(f"job: {shown(job)} is not an id: it is not valid Unicode") from None
        return job
    raise _refusal("job", "a job or its id", job)


def check_jobs(jobs: object) -> dict[str, Any]:
    """Return the jobs by id; raise as `check_job`."""
    if isinstance(jobs, (str, bytes, Mapping)) or not isinstance(jobs, Iterable):
        raise _refusal("jobs", "an iterable of jobs or ids", jobs)
    return {check_job(job): job for job in jobs}


def check_rows(jobs: object, *, asynchronous: bool = False) -> None:
    """Raise `TypeError` unless `jobs` can be iterated; each job is checked when it is read."""
    kinds = (Iterable, AsyncIterable) if asynchronous else (Iterable,)
    if isinstance(jobs, (str, bytes, Mapping)) or not isinstance(jobs, kinds):
        raise _refusal("jobs", "an iterable of mappings, each the keywords of `submit`", jobs)


def check_window(window: object) -> None:
    """Raise `TypeError` or `ValueError` unless `window` is a number of jobs."""
    if not isinstance(window, Integral) or isinstance(window, bool):
        raise _refusal("window", "a whole number of jobs", window)
    if window < 1:
        raise ValueError(f"window: give at least 1, not {window}")


def check_timeout(timeout: object) -> float | None:
    """Return the seconds to wait, None for no limit; raise `TypeError` or `ValueError`.

    A negative timeout is a deadline that has passed.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, Real) or isinstance(timeout, bool):
        raise _refusal("timeout", "seconds as a number, or None", timeout)
    try:
        seconds = float(timeout)
    except OverflowError:
        return None
    if math.isnan(seconds):
        raise ValueError("timeout: give seconds as a number, or None, not NaN")
    return None if seconds > _FOR_EVER else seconds
