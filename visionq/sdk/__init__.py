"""The client that other services use."""

from visionq.sdk.arguments import ImageInput
from visionq.sdk.async_client import AsyncClient
from visionq.sdk.client import Client
from visionq.sdk.job_handles import AsyncJob, Job
from visionq.sdk.typed import TypedResult

__all__ = ["AsyncClient", "AsyncJob", "Client", "ImageInput", "Job", "TypedResult"]
