"""The wire form of jobs and results: what producers, workers and other services share."""

from visionq.contract.base import SCHEMA_VERSION
from visionq.contract.further_models import UNSURE, Cascade, JobStep
from visionq.contract.job import (
    AnswerFormat,
    Api,
    Detail,
    ImageReference,
    JobDocument,
    Lane,
    Priority,
    PromptCache,
    Reuse,
    UnknownBilling,
    UrlMode,
    parse_job,
)
from visionq.contract.pictures import Animated, PictureOptions, Policy
from visionq.contract.result import (
    ErrorDocument,
    ImageReport,
    InvalidAnswer,
    JobView,
    Picture,
    ResultDocument,
    Usage,
)
from visionq.contract.spend import Spend
from visionq.contract.states import (
    HINTED,
    TERMINAL,
    TRANSITIONS,
    DelayReason,
    State,
    shown_state,
)

__all__ = [
    "HINTED",
    "SCHEMA_VERSION",
    "TERMINAL",
    "TRANSITIONS",
    "UNSURE",
    "Animated",
    "AnswerFormat",
    "Api",
    "Cascade",
    "DelayReason",
    "Detail",
    "ErrorDocument",
    "ImageReference",
    "ImageReport",
    "InvalidAnswer",
    "JobDocument",
    "JobStep",
    "JobView",
    "Lane",
    "Picture",
    "PictureOptions",
    "Policy",
    "Priority",
    "PromptCache",
    "ResultDocument",
    "Reuse",
    "Spend",
    "State",
    "UnknownBilling",
    "UrlMode",
    "Usage",
    "parse_job",
    "shown_state",
]
