"""Prepare pictures or texts that may have killed workers in an isolated process.

The standard library's forkserver was measured and not taken: it is no faster, adds a process
(resource_tracker, 6 MB), shares the worker's session, so that a signal to the worker's group ends
it, and preloads modules by the working directory's path, without `visionq.installation`.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import InvalidAnswer, JobDocument
from visionq.contract import Picture as PictureFacts
from visionq.errors import InternalError, Quarantined, VisionqError
from visionq.installation import python_command
from visionq.pricing.vision import forecast_texts
from worker.images import EncodedImage, encode_as_seen, inspect
from worker.picture_detectors import judge
from worker.provider.request import build_repair, build_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.contract import Detail, PictureOptions
    from visionq.detectors import Detector
    from visionq.pricing.vision import VisionRules
    from worker.images import ImageLimits

#: Seconds for a picture; far more than any within the limits takes.
SECONDS: Final = 120
#: Seconds for a job's texts and schema; they take milliseconds.
TEXT_SECONDS: Final = 10
_COMMAND: Final = python_command("worker.isolated_decode")
#: Someone ended the process on purpose; the picture is not to blame.
_ASKED_TO_END: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass(frozen=True)
class PictureTask:
    """One picture, and all that preparing it needs."""

    content: bytes = field(repr=False)
    name: str
    limits: ImageLimits
    options: PictureOptions
    rules: VisionRules
    model: str
    detail: Detail

    @property
    def pixel_bytes(self) -> int:
        """Bytes that the decoded picture may take."""
        return self.limits.max_decode_bytes

    def run(self, detectors: Sequence[Detector]) -> PreparedPicture:
        """Do all that the job's steps would do with the picture in the worker.

        Raises:
            ImageError: what is wrong with it.
        """
        name, limits, options = self.name, self.limits, self.options
        checked = inspect(self.content, name=name, limits=limits, options=options)
        sent = encode_as_seen(
            checked,
            rules=self.rules,
            model=self.model,
            detail=self.detail,
            name=name,
            limits=limits,
            options=options,
        )
        found = judge([part.data for part in sent], options, detectors, name=name)
        encoding = [warning for part in sent for warning in part.warnings]
        source = PictureFacts(
            format=checked.format, width=checked.width, height=checked.height, bytes=checked.bytes
        )
        return PreparedPicture(source, sent, (*checked.warnings, *encoding, *found))


@dataclass(frozen=True)
class PreparedPicture:
    """The original picture and the one to send."""

    source: PictureFacts
    #: One, or its crops in order.
    sent: tuple[EncodedImage, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class DryRun:
    """A job whose texts and schema are made into a call, which is not sent."""

    document: str = field(repr=False)
    #: The `InvalidAnswer` to repair, as JSON, if the job has one.
    invalid: str | None = field(default=None, repr=False)

    @property
    def pixel_bytes(self) -> int:
        """No picture is decoded."""
        return 0

    def run(self) -> None:
        """Do all that the worker would do before the call, pictures aside.

        Raises:
            InvalidJob: what is wrong with the job.
        """
        job = JobDocument.model_validate_json(self.document)
        forecast_texts(job.prompt, job.instructions, job.answer_schema)
        if self.invalid is None:
            build_request(job, [""] * len(job.images), job.pictures.asked_of_model)
        else:
            build_repair(job, InvalidAnswer.model_validate_json(self.invalid))


class IsolatedDecoder:
    """Prepares each picture in an isolated process, whose death harms nothing else.

    Each process is forked from one that has imported everything: where workers die often, many
    jobs take this way, and importing for each of them would bring more workers down.
    """

    def __init__(self, command: Sequence[str] = _COMMAND, seconds: float = SECONDS) -> None:
        """Start nothing yet: most workers never see such a picture."""
        self._command = tuple(command)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None

    def prepare(self, task: PictureTask) -> PreparedPicture:
        """Prepare a picture, after those of other threads.

        Raises:
            ImageError: what is wrong with the picture.
            Quarantined: the process died of it, or did not finish in time.
            InternalError: the process could not be started, or someone ended it.
        """
        try:
            prepared: PreparedPicture = self._run(task, self._seconds)
        except Quarantined as error:
            raise Quarantined(error.message, image=task.name) from None
        return prepared

    def dry_run(self, task: DryRun) -> None:
        """Build a job's call without its pictures; raises as `prepare`, and `InvalidJob`."""
        self._run(task, min(self._seconds, TEXT_SECONDS))

    def _run(self, task: PictureTask | DryRun, seconds: float) -> Any:  # noqa: ANN401  # of either
        result, code = self._request(f"{seconds}\n".encode() + pickle.dumps(task))
        if code is None:
            raise Quarantined(f"preparing it took longer than {seconds:g} s")
        if -code in _ASKED_TO_END:
            raise InternalError(f"the isolated process was ended: {_ending(code)}")
        if code != 0:
            raise Quarantined(f"preparing it killed the isolated process: {_ending(code)}")
        done = pickle.loads(result)  # noqa: S301  # from our own child
        if isinstance(done, VisionqError):
            raise done
        return done

    def close(self) -> None:
        """End the process from which others are forked, if it runs."""
        with self._lock:
            self._end()

    def _request(self, task: bytes) -> tuple[bytes, int | None]:
        """Return the result and exit code of the task's process; no code after a timeout."""
        with self._lock:
            try:
                server = self._server = self._server or self._start()
                assert server.stdin is not None  # noqa: S101  # both are pipes
                assert server.stdout is not None  # noqa: S101  # likewise
                send(server.stdin.fileno(), task)
                reply = receive(server.stdout.fileno())
            except (OSError, EOFError) as error:
                self._end()
                message = f"no isolated process for a picture: {type(error).__name__}"
                raise InternalError(message) from error
        answer: tuple[bytes, int | None] = pickle.loads(reply)  # noqa: S301  # from our own child
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        # In a session of its own, no signal for the worker's terminal or group reaches it.
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )

    def _end(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.kill()
        server.communicate()


def send(file: int, content: bytes) -> None:
    """Write one message to a pipe."""
    with Connection(os.dup(file), readable=False) as pipe:
        pipe.send_bytes(content)


def receive(file: int) -> bytes:
    """Return the next message of a pipe; raise `EOFError` if its writer has ended."""
    with Connection(os.dup(file), writable=False) as pipe:
        return pipe.recv_bytes()


def _ending(code: int) -> str:
    return f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
