"""Handles of submitted jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from visionq.contract import JobView, ResultDocument
    from visionq.sdk.async_client import AsyncClient
    from visionq.sdk.client import Client
    from visionq.sdk.typed import Model, TypedResult


@dataclass(frozen=True, slots=True)
class Job:
    """A job by its id, which is also the id of its Celery task."""

    id: str
    #: False if the job existed already under its idempotency key.
    created: bool = field(compare=False)
    _client: Client = field(repr=False, compare=False)
    #: Its position among the jobs of `submit_many` or `stream`, from 0.
    position: int | None = field(default=None, repr=False, compare=False)

    @overload
    def wait(self, timeout: float | None = None) -> ResultDocument: ...

    @overload
    def wait(self, timeout: float | None = None, *, schema: type[Model]) -> TypedResult[Model]: ...

    def wait(
        self, timeout: float | None = None, *, schema: type[Model] | None = None
    ) -> ResultDocument | TypedResult[Model]:
        """Wait for the result; see `Client.wait`."""
        if schema is None:
            return self._client.wait(self, timeout)
        return self._client.wait(self, timeout, schema=schema)

    def status(self) -> JobView:
        """Return the current state of the job."""
        return self._client.get(self)

    def cancel(self) -> JobView:
        """Cancel the job; see `Client.cancel`."""
        return self._client.cancel(self)


@dataclass(frozen=True, slots=True)
class AsyncJob:
    """A job by its id, which is also the id of its Celery task."""

    id: str
    #: False if the job existed already under its idempotency key.
    created: bool = field(compare=False)
    _client: AsyncClient = field(repr=False, compare=False)
    #: Its position among the jobs of `submit_many` or `stream`, from 0.
    position: int | None = field(default=None, repr=False, compare=False)

    @overload
    async def wait(self, timeout: float | None = None) -> ResultDocument: ...  # noqa: ASYNC109  # seconds to wait, as in `Job`

    @overload
    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        *,
        schema: type[Model],
    ) -> TypedResult[Model]: ...

    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        *,
        schema: type[Model] | None = None,
    ) -> ResultDocument | TypedResult[Model]:
        """Wait for the result; see `AsyncClient.wait`."""
        if schema is None:
            return await self._client.wait(self, timeout)
        return await self._client.wait(self, timeout, schema=schema)

    async def status(self) -> JobView:
        """Return the current state of the job."""
        return await self._client.get(self)

    async def cancel(self) -> JobView:
        """Cancel the job; see `AsyncClient.cancel`."""
        return await self._client.cancel(self)
