"""Canvases: messages to send when a Celery caller's job ends (links, chains, chords).

A job ends in a script, often in another worker than the one that met its message. So the message's
canvas is kept with the job, and the end enters a delivery, which is retried until it is made. Each
message of a canvas goes out once, even if a worker dies while it sends them: `sent_once`.
"""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from celery.app.task import Context
from celery.canvas import group, maybe_signature
from celery.states import READY_STATES, REVOKED, SUCCESS
from kombu.exceptions import OperationalError

from visionq.errors import InvalidJob, QueueUnavailable
from visionq.ledger import celery_results
from visionq.names import SENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celery import Celery

    from visionq.ledger import Ledger

#: Field of the message → the option as callers write it.
_OPTIONS: Final = {
    "callbacks": "link",
    "errbacks": "link_error",
    "chain": "chain",
    "chord": "chord",
}
_PLACE: Final = ("group", "group_index", "root_id")
#: Characters of JSON. A step carries its arguments, and a chord's body those of all its steps.
_LARGEST: Final = 256_000
#: Their steps get new ids at each attempt to send them.
_COMPLEX: Final = ("celery.chain", "celery.chord")
#: Keys for the messages that are sent in this context, one after the other.
MARKS: ContextVar[Iterator[str] | None] = ContextVar("visionq_sent_once", default=None)


@contextmanager
def sent_once(name: str) -> Iterator[None]:
    """Send each message of this block once, however often the block is repeated.

    On Redis alone: other brokers get them at least once.
    """
    token = MARKS.set(f"{SENT}{name}:{number}" for number in count())
    try:
        yield
    finally:
        MARKS.reset(token)


def canvas_of(request: Context) -> str:
    """Return the messages that follow a job, as JSON; empty without any.

    Raises:
        InvalidJob: it can't be sent; names the option.
    """
    found = {name: getattr(request, name, None) for name in _OPTIONS}
    if not any(found.values()):
        return ""
    for name, option in _OPTIONS.items():
        steps = found[name]
        if steps:
            _check(option, [steps] if name == "chord" else steps)
    place = {name: getattr(request, name, None) for name in _PLACE}
    text = json.dumps({**found, **place}, ensure_ascii=False, separators=(",", ":"))
    if len(text) > _LARGEST:
        raise InvalidJob(
            f"link, chain or chord: {len(text):,} characters; at most {_LARGEST:,} are kept with a"
            " job: pass ids of large arguments, not the arguments"
        )
    return text


def _check(option: str, steps: object) -> None:
    if not isinstance(steps, list):
        raise InvalidJob(f"{option}: not a list of signatures")
    for step in steps:
        if not isinstance(step, dict) or not isinstance(step.get("task"), str):
            raise InvalidJob(f"{option}: not a signature of a task")
        if option.startswith("link") and step["task"] in _COMPLEX:
            raise InvalidJob(f"{option}: a chain or chord can't be linked; join it by `|`")


@dataclass(frozen=True, slots=True)
class _JobEnd:
    """A job that ended; of Celery's objects the stubs lack half."""

    app: Any
    request: Any
    #: The status and the result of Celery's form.
    status: str
    result: Any

    @property
    def outcome(self) -> object:
        """Return the result document, or the exception that the caller gets."""
        is_success = self.status == SUCCESS
        return self.result if is_success else self.app.backend.exception_to_python(self.result)


def send_canvas(app: Celery, ledger: Ledger, job_id: str) -> None:
    """Send the messages that follow an ended job.

    Raises:
        QueueUnavailable: the broker is away, or another worker has begun to send the chord's body
            and may have died: send it again.
    """
    canvas, meta = ledger.canvas(job_id)
    if not canvas or not meta:  # kept for as long as the result
        return
    status, result = celery_results.read(meta)
    if status not in READY_STATES:  # replayed meanwhile: its next end sends it
        return
    request = Context({"delivery_info": {}, **json.loads(canvas)}, id=job_id)
    end = _JobEnd(app, request, status, result)
    try:
        with sent_once(f"{job_id}:{status}"):
            _continue(end) if status == SUCCESS else _fail(end)
        if request.chord:
            _count_in_chord(end)
    except OperationalError as error:
        raise QueueUnavailable(f"the broker can't be reached: {error}") from error


def _continue(end: _JobEnd) -> None:
    for step in _with_ids(end, end.request.callbacks):
        _send(end, step, end.result)
    if end.request.chain:
        *rest, following = end.request.chain
        _send(end, maybe_signature(following, app=end.app), end.result, chain=rest)


def _fail(end: _JobEnd) -> None:
    """Call the error callbacks, and end the rest of the chain as Celery does."""
    # Celery's public method for this would also write the job's own result.
    end.app.backend._fail_chain(end.request.chain, end.outcome, state=end.status)  # noqa: SLF001
    if end.status != REVOKED:
        for step in _with_ids(end, end.request.errbacks):
            _send(end, step, end.request.id)


def _with_ids(end: _JobEnd, steps: Sequence[Any] | None) -> Iterator[Any]:
    """Yield the linked signatures, each under the same id at every attempt."""
    for number, step in enumerate(steps or ()):
        signature: Any = maybe_signature(step, app=end.app)
        parts = signature.tasks if isinstance(signature, group) else [signature]
        for part_number, part in enumerate(parts):
            name = f"{end.request.id}:{number}:{part_number}"
            part.options.setdefault("task_id", str(uuid.uuid5(uuid.NAMESPACE_OID, name)))
        yield signature


def _send(end: _JobEnd, step: Any, argument: object, **options: Any) -> None:  # noqa: ANN401  # Celery's signatures
    root = end.request.root_id or end.request.id
    step.apply_async((argument,), parent_id=end.request.id, root_id=root, **options)


def _count_in_chord(end: _JobEnd) -> None:
    backend, chord_id = end.app.backend, end.request.group
    with sent_once(f"chord:{chord_id}"):
        backend.on_chord_part_return(end.request, end.status, end.outcome)
    # Celery forgets the size of a chord whose body was sent, or that has failed.
    parts, more, size = (backend.get_key_for_group(chord_id, name) for name in (".j", ".t", ".s"))
    wanted = backend.client.get(size)
    if wanted and backend.client.zcard(parts) >= int(wanted) + int(backend.client.get(more) or 0):
        raise QueueUnavailable("the chord's body is being sent")
