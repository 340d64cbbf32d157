"""The program `visionq`, run in forks of a process that has imported every command.

Starting Python and importing is nearly all that a short command costs. A fork has the arguments,
environment, folder and files of its caller; signals to the caller do not reach it, but it dies with
the caller.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, NoReturn

from tests.support.waiting import until

_CONTEXT: Final = get_context("forkserver")
#: More than arguments and environment take.
_MOST: Final = 1 << 20
#: Passes all on, and ends as the command does. Imports next to nothing.
_PROGRAM: Final = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [request], [0, 1, 2])
sys.exit(int(server.recv(16) or 255))
"""


@cache
def warm_visionq() -> str:
    """Return the path of the program; the first call starts what it forks from."""
    folder = Path(mkdtemp(prefix="visionq-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address, program = folder / "socket", folder / "visionq"
    program.write_text(_PROGRAM.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    # A daemon ends with the process that started it.
    _CONTEXT.Process(target=_serve, args=(str(address),), daemon=True).start()
    until(address.exists, 120)
    return str(program)


def _serve(address: str) -> None:
    for command in entry_points(group="visionq.commands"):
        with suppress(ImportError):  # which the command itself will report
            command.load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for commands
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(address)
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection:
                if not os.fork():
                    server.close()
                    _attend(connection)


def _attend(connection: socket.socket) -> NoReturn:
    """Run the command of one caller, and tell it the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, files, _, _ = socket.recv_fds(connection, _MOST, 3)
    command = os.fork()
    if not command:
        connection.close()
        _run(request, files)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(command)
    if ended not in select.select([connection.fileno(), ended], [], [])[0]:
        os.kill(command, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    try:
        connection.send(str(code % 256).encode())
    finally:
        os._exit(0)


def _run(request: bytes, files: list[int]) -> NoReturn:
    from visionq.cli import main  # noqa: PLC0415  # in the fork alone, where it is imported already

    arguments, folder, environment = json.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["visionq", *arguments]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # as Python opens them
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # as Python does at its end
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # it waits for threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
