"""Logs: one event a line, as JSON or for a console; Celery's own lines in the same form."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

from visionq.redaction import keep_content_out_of_logs, without_text

if TYPE_CHECKING:
    from structlog.typing import ExcInfo, Processor

_NOISY: Final = (
    *("celery.worker.strategy", "celery.app.trace", "celery.pool"),
    *("httpx2", "httpcore2", "openai"),
)


def configure_logs(log_format: str, level: str, report: Processor | None = None) -> None:
    """Send everything to stderr in one form; to be called once, when the process starts.

    `report` sees each of our own events before its exception becomes text.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_without_text),
    ]
    structlog.configure(
        processors=[
            *([report] if report else ()),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Our own lines say what became of a job; these would say it again, or far too often, or with
    # the whole message.
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_without_content)
    logging.getLogger("celery.app.trace").addFilter(_without_exception)
    keep_content_out_of_logs()


def _without_text(exc_info: ExcInfo) -> str:
    return without_text(exc_info[1])


def _without_exception(record: logging.LogRecord) -> bool:
    """Leave the class of what Celery says of a task's exception: its text may quote the job."""
    if isinstance(record.args, dict) and "exc" in record.args:
        kind = str(record.args["exc"]).partition("(")[0]
        record.args = {**record.args, "exc": kind[:100], "traceback": ""}
    return True


def _without_content(record: logging.LogRecord) -> bool:
    """Cut what Celery says of a message that it can't use to its first line and the error's name.

    The rest holds the message's body and headers, and so the whole document.
    """
    if "body" in str(record.msg) and isinstance(record.args, tuple) and record.args:
        error = record.args[0]
        what = str(error) if isinstance(error, KeyError) else type(error).__name__
        record.msg = f"{str(record.msg).partition(chr(10))[0].partition(' %')[0]} ({what[:100]})"
        record.args, record.exc_info = (), None
    return True
