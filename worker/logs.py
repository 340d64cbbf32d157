"""Logs, one event a line, as JSON or for a console; unexpected errors go to Sentry as well."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.installation import install_command
from visionq.redaction import keep_content_out_of_logs, without_text
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import ExcInfo, Processor

    from visionq.settings import Settings

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
    """Log only the class of a task's exception: its text may quote the job."""
    if isinstance(record.args, dict) and "exc" in record.args:
        kind = str(record.args["exc"]).partition("(")[0]
        record.args = {**record.args, "exc": kind[:100], "traceback": ""}
    return True


def _without_content(record: logging.LogRecord) -> bool:
    """Cut Celery's line about an unusable message to its first line and the error.

    The rest holds the message's body and headers, and so the whole document.
    """
    if "body" in str(record.msg) and isinstance(record.args, tuple) and record.args:
        error = record.args[0]
        what = str(error) if isinstance(error, KeyError) else type(error).__name__
        record.msg = f"{str(record.msg).partition(chr(10))[0].partition(' %')[0]} ({what[:100]})"
        record.args, record.exc_info = (), None
    return True


#: What is left of an event. All else could hold words of a job: texts, variables, requests.
_KEPT: Final = frozenset({"event_id", "timestamp", "platform", "level", "release", "exception"})
_FRAME: Final = frozenset({"filename", "module", "function", "lineno", "in_app"})
_TAGS: Final = ("event", "stage", "duty")
_LONGEST_TAG: Final = 100


def make_reporter(settings: Settings) -> Processor | None:
    """Return the log processor that reports exceptions to Sentry; None without a DSN.

    Raises:
        ConfigurationError: the package for it is not installed, or the address is none.
    """
    if settings.sentry_dsn is None:
        return None
    try:
        import sentry_sdk  # noqa: PLC0415  # an extra
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415  # likewise
    except ImportError as error:
        raise ConfigurationError(
            f"VISIONQ_SENTRY_DSN: needs an extra: {install_command('telemetry')}"
        ) from error
    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn.get_secret_value(),
            # Integrations look into requests, arguments and logs.
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            include_source_context=False,
            max_breadcrumbs=0,
            server_name="",
            before_send=strip,  # type: ignore[arg-type]  # events are plain dicts
        )
    except BadDsn:
        raise ConfigurationError("VISIONQ_SENTRY_DSN: not the address of a project") from None

    def report(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401  # structlog's
        error = sys.exc_info()[1]
        if event.get("exc_info") and error is not None:
            with sentry_sdk.new_scope() as scope:
                for tag in _TAGS:
                    scope.set_tag(tag, str(event.get(tag, ""))[:_LONGEST_TAG])
                scope.capture_exception(error)
        return event

    return report


def strip(event: dict[str, Any], hint: object = None) -> dict[str, Any]:
    """Return an event with exception types and code locations only."""
    del hint
    kept = {name: value for name, value in event.items() if name in _KEPT}
    tags = event.get("tags") or {}
    kept["tags"] = {name: tags[name] for name in _TAGS if tags.get(name)}
    values = (event.get("exception") or {}).get("values") or []
    kept["exception"] = {"values": [_without_texts(one) for one in values]}
    return kept


def _without_texts(exception: dict[str, Any]) -> dict[str, Any]:
    frames = (exception.get("stacktrace") or {}).get("frames") or []
    places = [{key: frame[key] for key in _FRAME if key in frame} for frame in frames]
    return {
        "type": exception.get("type"),
        "module": exception.get("module"),
        "stacktrace": {"frames": places},
    }
