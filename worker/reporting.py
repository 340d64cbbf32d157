"""Unforeseen errors, told to Sentry: where in our code, and nothing of what the job is about."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from visionq.installation import install_command
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import Processor

    from visionq.settings import Settings

#: What is left of an event. All else could hold words of a job: texts, variables, requests.
_KEPT: Final = frozenset({"event_id", "timestamp", "platform", "level", "release", "exception"})
_FRAME: Final = frozenset({"filename", "module", "function", "lineno", "in_app"})
_TAGS: Final = ("event", "stage", "duty")
_LONGEST_TAG: Final = 100


def make_reporter(settings: Settings) -> Processor | None:
    """Return what reports each logged exception to `VISIONQ_SENTRY_DSN`; None: nobody asks for it.

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
    """Return an event with the kinds of its exceptions and the places in the code, and no texts."""
    del hint
    kept = {name: value for name, value in event.items() if name in _KEPT}
    tags = event.get("tags") or {}
    kept["tags"] = {name: tags[name] for name in _TAGS if tags.get(name)}
    values = (event.get("exception") or {}).get("values") or []
    kept["exception"] = {"values": [_without_text(one) for one in values]}
    return kept


def _without_text(exception: dict[str, Any]) -> dict[str, Any]:
    frames = (exception.get("stacktrace") or {}).get("frames") or []
    places = [{key: frame[key] for key in _FRAME if key in frame} for frame in frames]
    return {
        "type": exception.get("type"),
        "module": exception.get("module"),
        "stacktrace": {"frames": places},
    }
