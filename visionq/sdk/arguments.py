"""Arguments of the clients' methods, checked before anything else is done with them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Final

from visionq.sdk.job import AsyncJob, Job
from visionq.settings import Settings

#: Characters of a text in the place of something else that are shown.
_SHOWN: Final = 40
#: Seconds; a longer wait has no end, and clocks may not hold it.
_FOR_EVER: Final = 1e9


def shown(value: object) -> str:
    """Show what was given instead of what was wanted: its type, and the beginning of a text."""
    kind = type(value).__name__
    return f"{kind} {value[:_SHOWN]!a}" if isinstance(value, str) else kind


def _refusal(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name}: give {wanted}, not {shown(value)}")


def check_client(settings: object, redis_url: object) -> None:
    """Check what a client is made with; raises `TypeError`."""
    if settings is not None and not isinstance(settings, Settings):
        raise _refusal("settings", "Settings, or redis_url=… for an address", settings)
    if redis_url is not None and not isinstance(redis_url, str):
        raise _refusal("redis_url", "an address as redis://host:6379/0", redis_url)


def check_job(job: object) -> str:
    """Return the id of a job, given as such or by its id; raises `TypeError` or `ValueError`."""
    if isinstance(job, (Job, AsyncJob)):
        return job.id
    if isinstance(job, str):
        try:
            job.encode()
        except UnicodeEncodeError:
            raise ValueError(f"job: {shown(job)} can be no id: it is not valid Unicode") from None
        return job
    raise _refusal("job", "a job or its id", job)


def check_jobs(jobs: object) -> dict[str, Any]:
    """Return jobs by their ids, each as it was given; raises what `check_job` does."""
    if isinstance(jobs, (str, bytes, Mapping)) or not isinstance(jobs, Iterable):
        raise _refusal("jobs", "an iterable of jobs or ids", jobs)
    return {check_job(job): job for job in jobs}


def check_rows(jobs: object, *, asynchronous: bool = False) -> None:
    """Check where jobs to submit come from; raises `TypeError`. The jobs are checked one by one."""
    kinds = (Iterable, AsyncIterable) if asynchronous else (Iterable,)
    if isinstance(jobs, (str, bytes, Mapping)) or not isinstance(jobs, kinds):
        raise _refusal("jobs", "an iterable of mappings, each the keywords of `submit`", jobs)


def check_window(window: object) -> None:
    """Check how many jobs may be out; raises `TypeError` or `ValueError`."""
    if not isinstance(window, Integral) or isinstance(window, bool):
        raise _refusal("window", "a whole number of jobs", window)
    if window < 1:
        raise ValueError(f"window: give at least 1, not {window}")


def check_timeout(timeout: object) -> float | None:
    """Return the seconds to wait, None for ever; raises `TypeError` or `ValueError`.

    What is less than 0 has passed already, as a deadline may have.
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
