"""A process whose interpreter is held ends; one that works, waits, or is stopped does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

#: A process that sets its watchdog again ten times a second, beside all else.
FED = """
import re, sys, threading, time
from worker.threads.watchdog import Watchdog

watchdog = Watchdog(0.5)
watchdog.start()

def feed():
    while True:
        time.sleep(0.1)
        watchdog.feed()

threading.Thread(target=feed, daemon=True).start()
print("begun", flush=True)
"""
HOLDING = "re.match('(a+)+$', 'a' * 64 + '!')"
WORKING = """
end = time.thread_time() + 1.5
while time.thread_time() < end:
    re.match('(a+)+$', 'a' * 16 + '!')
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FED + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_who_holds_the_interpreter_is_ended() -> None:
    """By its own timer, showing where each thread was."""
    ended = run(HOLDING)
    assert ended.returncode == -signal.SIGPROF
    assert "re/__init__.py" in ended.stderr
    assert ended.stderr.count("most recent call first") == 2


@pytest.mark.parametrize("code", [WORKING, "time.sleep(1.5)", "watchdog.stop(); " + WORKING])
def test_who_works_or_waits_is_left_alone(code: str) -> None:
    """However long it computes, as long as its threads take turns."""
    assert run(code).returncode == 0


def test_who_was_stopped_goes_on() -> None:
    """Time in which a process was frozen is not held against it."""
    command = [sys.executable, "-c", FED + "sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=30)
    assert process.returncode == 0
