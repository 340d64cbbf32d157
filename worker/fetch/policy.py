"""What the operator decides about downloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.waits import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.fetch.addresses import Range


@dataclass(frozen=True)
class FetchPolicy:
    """Limits of every download; seconds throughout."""

    #: Fetch from any address: for tests and closed networks.
    allow_private: bool = False
    #: The only hosts fetched from (`example.org`, or `.example.org` for all below); empty: any.
    allowed_hosts: tuple[str, ...] = ()
    #: Hosts never fetched from, in the same spelling.
    denied_hosts: tuple[str, ...] = ()
    #: Ranges of addresses that are fetched from although they are not public.
    trusted_ranges: tuple[Range, ...] = ()
    #: What downloads say they come from.
    user_agent: str = "visionq"
    #: Headers for a host, by its name in lower case, or for all below, in the same spelling; of
    #: several the most exact alone is used, and no other host gets them.
    host_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    #: To reach the server, TLS included, for each of its addresses.
    connect_timeout: float = 5
    #: Silence of the server.
    read_timeout: float = 15
    #: The whole download, redirects included.
    total_timeout: float = 60
    #: All downloads of a job, however many; where they are more, so long for each of them.
    job_timeout: float = 120
    job_timeout_each: float = 4
    #: Bytes a second that a body brings at least, once it was waited for so long.
    least_rate: float = 1000
    least_rate_after: float = 10
    max_redirects: int = 3
    #: For which a server's `Retry-After` is heeded at most.
    longest_wait: float = LONGEST_WAIT
    #: Connections of the process at one time; further downloads wait for one.
    max_connections: int = 64
    #: Of those, to one host.
    max_connections_per_host: int = 8
