"""The examples of docs/clients.md do what they say, as far as their runtimes are here."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest
from standardwebhooks import Webhook

from tests.support.gateway import KEY, asked
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.devstack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

DOCS: Final = Path(__file__).parents[3] / "docs"
_EXAMPLE: Final = re.compile(r"<!-- example: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)


def examples(page: str) -> dict[str, str]:
    return dict(_EXAMPLE.findall((DOCS / page).read_text("utf-8")))


EXAMPLES: Final = examples("clients.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(picture(5))
    return tmp_path


def run(folder: Path, parts: tuple[Gateway, Fleet], *command: str) -> str:
    gateway, fleet = parts
    environment = {
        **os.environ,
        "GATEWAY_URL": gateway.url,
        "GATEWAY_KEY": KEY,
        "REDIS_URL": fleet.server.url,
        "VISIONQ_REDIS_URL": fleet.server.url,
    }
    done = subprocess.run(  # programs of this machine
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_languages_show_the_same() -> None:
    """The Russian page has the same examples, letter by letter."""
    assert examples("clients.ru.md") == EXAMPLES
    assert len(EXAMPLES) == 12


@pytest.mark.parametrize(
    "name", ["python", "celery", "fastapi", "flask", "django", "pytest", "python_webhook"]
)
def test_python_is_python(name: str) -> None:
    """Every Python example can be parsed."""
    ast.parse(EXAMPLES[name])


@pytest.mark.parametrize("name", ["python", "celery"])
def test_python(name: str, folder: Path, parts: tuple[Gateway, Fleet]) -> None:
    """A Python example prints the answer."""
    (folder / "example.py").write_text(EXAMPLES[name], "utf-8")
    assert "64x48" in run(folder, parts, sys.executable, "example.py")


def test_curl(folder: Path, parts: tuple[Gateway, Fleet]) -> None:
    """The line of curl brings the job with its answer."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert "64x48" in run(folder, parts, "sh", "-c", EXAMPLES["curl"])


@pytest.mark.parametrize(
    ("name", "file", "command"),
    [("php", "example.php", ("php", "-f")), ("go", "example.go", ("go", "run"))],
)
def test_other_runtimes(
    name: str, file: str, command: tuple[str, ...], folder: Path, parts: tuple[Gateway, Fleet]
) -> None:
    """An example in another language prints the answer, where its runtime is."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    (folder / file).write_text(EXAMPLES[name], "utf-8")
    assert "64x48" in run(folder, parts, *command, file)


SECRET: Final = "whsec_" + base64.b64encode(b"a secret for thirty-two bytes ...").decode()


def signed_event(job_id: str, sent: datetime, secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
    """Return what a worker would send, signed by another secret as well."""
    data = {"id": job_id}
    event = {"id": "evt_1", "object": "event", "created_at": 1, "type": "response.completed"}
    body = json.dumps({**event, "data": data}).encode()
    other = Webhook("whsec_" + base64.b64encode(b"other").decode())
    signatures = [one.sign("evt_1", sent, body.decode()) for one in (other, Webhook(secret))]
    return body, {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def statuses(post: Callable[[bytes, dict[str, str]], int], job_id: str) -> list[int]:
    """Return the answers to an event that is right, and to three that are not."""
    now = datetime.now(UTC)
    body, headers = signed_event(job_id, now)
    forged = "whsec_" + base64.b64encode(b"guessed").decode()
    return [
        post(body, headers),
        post(body + b" ", headers),
        post(*signed_event(job_id, now, forged)),
        post(*signed_event(job_id, now - timedelta(hours=1))),
    ]


def test_php_webhook(folder: Path) -> None:
    """The PHP receiver takes a signed event, and none that is changed, forged or old."""
    php = shutil.which("php")
    if php is None:
        pytest.skip("php is not installed")
    (folder / "events.php").write_text(EXAMPLES["php_webhook"], "utf-8")
    port = free_port()
    command = [php, "-S", f"127.0.0.1:{port}", "events.php"]
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as sender:
            until(lambda: answers_at(sender, 400), 30, "the server")
            answered = statuses(
                lambda body, headers: sender.post("/", content=body, headers=headers).status_code,
                "resp_7",
            )
    finally:
        server.terminate()
        server.wait()
    assert answered == [204, 400, 400, 400]
    assert (folder / "log").read_text().count("response.completed resp_7") == 1


def test_python_webhook(
    parts: tuple[Gateway, Fleet],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The Flask receiver takes a signed event and reads the answer, and takes none that is not."""
    gateway, _ = parts
    for name, value in (("URL", gateway.url), ("KEY", KEY)):
        monkeypatch.setenv(f"GATEWAY_{name}", value)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    names: dict[str, Any] = {"__name__": "example"}
    exec(EXAMPLES["python_webhook"], names)  # noqa: S102  # our own page
    with names["client"] as client, names["app"].test_client() as sender:
        job = client.responses.create(model="gpt-6-luna", input=asked(8))
        answered = statuses(
            lambda body, headers: sender.post("/events", data=body, headers=headers).status_code,
            job.id,
        )
    assert answered == [204, 400, 400, 400]
    assert "64x48" in capsys.readouterr().out


def test_node(folder: Path, parts: tuple[Gateway, Fleet], node_package: Path) -> None:
    """The Node example prints the answer, where the package can be had."""
    shutil.copy(folder / "photo.jpg", node_package)
    (node_package / "example.mjs").write_text(EXAMPLES["node"], "utf-8")
    assert "64x48" in run(node_package, parts, "node", "example.mjs")


def test_flask(folder: Path, parts: tuple[Gateway, Fleet], monkeypatch: pytest.MonkeyPatch) -> None:
    """The Flask application takes a picture and has its answer a moment later."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", parts[1].server.url)
    names: dict[str, object] = {"__name__": "example"}
    exec(EXAMPLES["flask"], names)  # noqa: S102  # our own page
    app, client = names["app"], names["client"]
    with app.test_client() as browser:  # type: ignore[attr-defined]  # Flask's
        with (folder / "photo.jpg").open("rb") as photo:
            accepted = browser.post("/pictures", data={"file": photo})
        assert accepted.status_code == 202
        address = f"/pictures/{accepted.json['id']}"
        until(lambda: browser.get(address).json["state"] == "done", 20, "an answer")
        assert "64x48" in browser.get(address).json["text"]
        assert browser.get("/pictures/unknown").status_code == 404
    client().close()  # type: ignore[operator]  # the function of the page


def test_fastapi(
    folder: Path, parts: tuple[Gateway, Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The FastAPI application does the same."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", parts[1].server.url)
    (folder / "example.py").write_text(EXAMPLES["fastapi"], "utf-8")
    with serving(folder, "-m", "uvicorn", "example:app", "--port") as browser:
        assert_takes_pictures(browser)


#: What a Django project has around the views of the example.
DJANGO_SITE: Final = """
import sys
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(SECRET_KEY="of a test", ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__)
from example import look, submit

urlpatterns = [path("pictures", submit), path("pictures/<str:job_id>", look)]
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
"""


def test_django(
    folder: Path, parts: tuple[Gateway, Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Django views do the same, in a project of their own, and refuse other methods."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", parts[1].server.url)
    (folder / "example.py").write_text(EXAMPLES["django"], "utf-8")
    (folder / "site_of_test.py").write_text(DJANGO_SITE, "utf-8")
    with serving(folder, "site_of_test.py") as browser:
        assert_takes_pictures(browser, status=404)
        assert browser.get("/pictures").status_code == 405


@contextmanager
def serving(folder: Path, *command: str) -> Iterator[httpx2.Client]:
    """Run a Python program that serves HTTP at the port that is its last argument."""
    port = free_port()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([sys.executable, *command, str(port)], cwd=folder, stderr=log) as server,
    ):
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as browser:
                yield browser
        finally:
            server.terminate()


def assert_takes_pictures(browser: httpx2.Client, status: int = 200) -> None:
    """Send a picture as a form does, and fetch its answer; `status`: of an unknown page."""
    until(lambda: answers_at(browser, status), 60, "the application")
    accepted = browser.post("/pictures", files={"file": ("a.png", picture(6))})
    assert accepted.status_code == 202, accepted.text
    address = f"/pictures/{accepted.json()['id']}"
    until(lambda: browser.get(address).json()["state"] == "done", 20, "an answer")
    assert "64x48" in browser.get(address).json()["text"]
    assert browser.get("/pictures/unknown").status_code == 404
    refused = browser.post("/pictures", files={"file": ("a.png", b"no picture")})
    wrong = f"/pictures/{refused.json()['id']}"
    until(lambda: browser.get(wrong).status_code == 422, 20, "a refusal")


def answers_at(browser: httpx2.Client, status: int = 200) -> bool:
    try:
        return browser.get("/openapi.json").status_code == status
    except httpx2.ConnectError:
        return False
