"""The thread that tells how the process is, and ends it when no work can be done in it any more."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import structlog

from visionq.health import Report, ReportFile, directory, fleet_of, now
from worker.threads.health.watchdog import Watchdog

if TYPE_CHECKING:
    from visionq.settings import Settings
    from worker.threads.health.progress import Progress
    from worker.threads.leases import Leases

log = structlog.get_logger(__name__)

_EVERY: Final = 1.0
_PATHS: Final = frozenset({"/", "/health", "/healthz"})


class Reporter:
    """Tells it in a file, and over HTTP where a port is set."""

    def __init__(self, progress: Progress, leases: Leases, name: str, settings: Settings) -> None:
        self._progress = progress
        self._leases = leases
        self._name = name
        self._settings = settings
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visionq-health", daemon=True)
        self._server: ThreadingHTTPServer | None = None
        #: A lease lapses where nobody can renew it: then the process had better end, too.
        self._watchdog = Watchdog(settings.lease)

    def start(self) -> None:
        """Begin; a process that can't tell how it is works all the same."""
        self._watchdog.start()
        self._thread.start()
        if self._settings.health_port is not None:
            self._serve(*self._settings.health_port)

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self._watchdog.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def report(self) -> Report:
        """Return how the process is."""
        return Report(
            pid=os.getpid(),
            name=self._name,
            at=now(),
            trouble=self._progress.trouble(),
            redis=self._progress.redis,
            jobs=len(self._leases),
            hung=self._leases.hung(),
        )

    def _run(self) -> None:
        file = self._open()
        while not self._stopped.wait(_EVERY):
            self._watchdog.feed()
            if file is not None:
                file.write(self.report())
            if self._progress.all_slots_lost():
                # Their jobs have gone to other workers when their leases lapsed: nothing is lost.
                log.error("worker.ended", reason="all slots hang; whoever supervises starts anew")
                os._exit(1)
        if file is not None:
            file.remove()

    def _open(self) -> ReportFile | None:
        url = self._settings.redis_url
        try:
            file = ReportFile(directory(), fleet_of(url.get_secret_value() if url else ""))
        except OSError as error:
            log.warning("health.no_file", error=str(error))
            return None
        file.write(self.report())
        return file

    def _serve(self, host: str, port: int) -> None:
        reporter = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                if self.path not in _PATHS:
                    self.send_error(404)
                    return
                report = reporter.report()
                body = json.dumps(report.to_public(report.at, 1)).encode()
                self.send_response(503 if report.trouble else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing of each look."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            # Several workers of one machine can't share a port; the file tells of each.
            log.warning("health.no_port", host=host, port=port, error=str(error))
            return
        serve = self._server.serve_forever
        threading.Thread(target=serve, name="visionq-health-http", daemon=True).start()
