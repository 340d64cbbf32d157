"""What `visionq doctor` makes of its findings."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import socket
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from visionq.cli.doctor.doctor_command import REACHABLE, exit_code_of, report
from visionq.cli.doctor.findings import Finding, Level, not_known, ok, problem, warning
from visionq.cli.doctor.provider_checks import ask_provider, environment_findings
from visionq.cli.doctor.redis_checks import Server, redis_findings
from visionq.cli.doctor.table_checks import table_findings, versions_finding
from visionq.cli.provider_account import Provider, get_model_list
from visionq.http_checks import is_local, public_address
from visionq.pricing.model_list import ListedModels
from visionq.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = "redis://127.0.0.1:6379/0"
REMOTE = "redis://:secret@redis.example:6379/0"
INFO: dict[str, Any] = {
    "redis_version": "7.2.4",
    "redis_mode": "standalone",
    "role": "master",
    "connected_slaves": 0,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "used_memory": 100_000_000,
    "maxmemory": 1_000_000_000,
}
CONFIG: dict[str, Any] = {
    "appendfsync": "everysec",
    "save": "",
    "appendonly": "yes",
    "maxmemory": "0",
    "hash-max-ziplist-value": "1024",
}


def reporting(*replies: dict[str, Any]) -> Server:
    """A server that reports this, the later replies before the earlier ones."""
    facts = {name: str(value) for reply in replies for name, value in reply.items()}
    return Server(facts, latency=0.001, clock_ahead=0.0)


WELL = reporting(CONFIG, INFO)
SILENT_CONFIG = reporting(INFO)
MUTE = reporting()


def told(server: Server, check: str, url: str = LOCAL) -> Finding:
    (found,) = (one for one in redis_findings(server, url, 0.85) if one.check == f"redis.{check}")
    return found


def with_info(**changes: Any) -> Server:
    return reporting(CONFIG, INFO | changes)


def with_config(**changes: str) -> Server:
    return reporting(CONFIG | changes, INFO)


def test_a_proxy_is_named_where_calls_go_through_it() -> None:
    """The provider on this machine is called through none; a wrong variable is reported."""
    environ = {"HTTPS_PROXY": "http://user:secret@proxy.example:3128"}
    (found,) = environment_findings(environ, "https://api.proxyapi.ru/openai/v1")
    assert found.message == (
        "the provider is called through the proxy of HTTPS_PROXY (http://proxy.example:3128)"
    )
    assert environment_findings(environ, "http://127.0.0.1:8123/openai/v1") == []
    (wrong,) = environment_findings({"ALL_PROXY": "nonsense://x"}, "http://127.0.0.1:8123/v1")
    assert wrong.level is Level.PROBLEM


def test_a_server_that_is_well() -> None:
    """A server set up as the docs say brings nothing to do."""
    assert {(one.level, one.advice) for one in redis_findings(WELL, LOCAL, 0.85)} == {
        (Level.OK, None)
    }


@pytest.mark.parametrize(
    ("server", "check", "level", "words"),
    [
        (with_info(redis_version="6.0.16"), "version", Level.PROBLEM, "Redis 6.0.16 is too old"),
        (with_info(redis_version="6.2.14"), "version", Level.OK, "Redis 6.2.14"),
        (with_info(redis_version="10.0.0"), "version", Level.OK, "Redis 10.0.0"),
        (with_info(valkey_version="8.1.0"), "version", Level.OK, "Valkey 8.1.0"),
        (with_info(role="slave"), "role", Level.PROBLEM, "replica"),
        (with_info(connected_slaves=2), "role", Level.OK, "with 2 replicas"),
        (with_info(redis_mode="cluster"), "mode", Level.PROBLEM, "cluster"),
        (with_info(maxmemory_policy="allkeys-lru"), "eviction", Level.PROBLEM, "deletes jobs"),
        (WELL, "persistence", Level.OK, "may lose the last second or two"),
        (with_config(appendfsync="always"), "persistence", Level.OK, "nor does the loss"),
        (with_config(appendfsync="no"), "persistence", Level.WARNING, "half minute"),
        (SILENT_CONFIG, "persistence", Level.OK, "is not reported"),
        (with_info(aof_last_write_status="err"), "persistence", Level.PROBLEM, "can't be written"),
        (with_info(aof_enabled=0), "persistence", Level.PROBLEM, "everything is lost"),
        (with_info(aof_enabled=0, connected_slaves=1), "persistence", Level.WARNING, "failover"),
        (with_info(used_memory=700_000_000), "memory", Level.WARNING, "will be refused at 85%"),
        (with_info(used_memory=850_000_000), "memory", Level.PROBLEM, "are refused from 85% on"),
        (with_info(maxmemory=0), "memory", Level.WARNING, "no limit"),
        (WELL, "packing", Level.OK, "about 550 bytes"),
        (with_config(**{"hash-max-ziplist-value": "64"}), "packing", Level.WARNING, "1,030 bytes"),
        (SILENT_CONFIG, "packing", Level.NOT_KNOWN, "is not reported"),
        (dataclasses.replace(WELL, latency=0.05), "latency", Level.WARNING, "50.0 ms"),
        (dataclasses.replace(WELL, clock_ahead=3.0), "clock", Level.WARNING, "3.0 s ahead of"),
        (dataclasses.replace(WELL, clock_ahead=-9.0), "clock", Level.WARNING, "9.0 s behind"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_server(server: Server, check: str, level: Level, words: str) -> None:
    """Each fault of a server has its level, its words, and what to do unless all is well."""
    found = told(server, check)
    assert found.level is level
    assert words in found.message
    assert (found.advice is None) == (level is Level.OK)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Level.OK, "is limited by this machine's memory"),
        ({"total_system_memory": 8_000_000_000}, Level.OK, "memory (8,000.0 MB)"),
        ({"total_system_memory": 120_000_000}, Level.WARNING, "memory (120.0 MB)"),
    ],
)
def test_the_redis_of_a_stack(changes: dict[str, int], level: Level, words: str) -> None:
    """The Redis that `up` has started shows its true bound, and needs no setting."""
    server = with_info(maxmemory=0, **changes)
    found = {one.check: one for one in redis_findings(server, LOCAL, 0.85, is_of_stack=True)}
    assert found["redis.memory"].level is level
    assert words in found["redis.memory"].message
    others = {one.level for name, one in found.items() if name != "redis.memory"}
    assert others == {Level.OK}


@pytest.mark.parametrize(
    "check", ["version", "role", "mode", "eviction", "persistence", "memory", "packing"]
)
def test_a_server_that_tells_nothing(check: str) -> None:
    """If INFO and CONFIG are refused nothing is made up, and the advice says whom to ask."""
    found = told(MUTE, check)
    assert found.level is Level.NOT_KNOWN
    assert "provider" in (found.advice or "")


def test_what_one_command_does_not_tell_another_does() -> None:
    """Without INFO, HELLO tells version, mode and role, and CONFIG the rest."""
    hello = {"redis_version": "7.0.15", "redis_mode": "cluster", "role": "replica"}
    config = CONFIG | {"maxmemory-policy": "volatile-lru"}
    server = reporting(config, hello)
    levels = [told(server, check).level for check in ("version", "role", "mode", "eviction")]
    assert levels == [Level.OK, Level.PROBLEM, Level.PROBLEM, Level.PROBLEM]
    assert told(server, "persistence").level is Level.OK


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("rediss://redis.example:6380/0", Level.OK),
        ("redis://localhost:6379/0", Level.OK),
        ("redis://[::1]:6379/0", Level.OK),
        ("unix:///run/redis.sock?db=0", Level.OK),
        (REMOTE, Level.WARNING),
    ],
)
def test_encryption(url: str, level: Level) -> None:
    """Beyond this machine TLS is wanted."""
    assert told(WELL, "tls", url).level is level


def test_addresses_are_shown_without_secrets() -> None:
    """No password, user or option of an address is shown."""
    assert public_address(REMOTE) == "redis://redis.example:6379/0"
    assert public_address("unix://user:pw@/run/redis.sock?db=0") == "unix:///run/redis.sock"
    assert public_address("rediss://u:p%40@h:1/2?ssl_ca_certs=x") == "rediss://h:1/2"
    assert not is_local("redis://127.evil.example/0")


def test_without_a_key_nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no call: not even a name is looked up."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    for function in ("getaddrinfo", "create_connection", "socket"):
        monkeypatch.setattr(socket, function, refuse)
    provider = Provider("https://api.proxyapi.ru/openai/v1", None)
    assert get_model_list(provider) is None
    (found,) = ask_provider(provider)[0]
    assert (found.check, found.level) == ("provider.key", Level.WARNING)
    assert found.details == {"present": False}


def tables(day: str = "2026-07-01", **fields: Any) -> dict[str, Finding]:
    settings = Settings(**fields)
    return {one.check: one for one in table_findings(settings, dt.date.fromisoformat(day))}


def test_the_built_in_prices() -> None:
    """The built-in table is called what it is: dated, and never compared with a bill."""
    found = tables()["prices.table"]
    assert found.level is Level.WARNING
    assert found.details["source"] == "built in"
    assert re.search(r"oldest of 2026-\d\d-\d\d \(\d+ days\).* never compared", found.message)


@pytest.mark.parametrize(
    ("day", "level"), [("2026-07-01", Level.OK), ("2027-07-01", Level.WARNING)]
)
def test_prices_of_ones_own(tmp_path: Path, day: str, level: Level) -> None:
    """A confirmed table is well until it is old."""
    file = tmp_path / "prices.toml"
    file.write_text(
        'batch_factor = "0.5"\n[[price]]\nmodel = "m"\ninput = "1"\noutput = "2"\n'
        'source = "the list"\ndate = 2026-06-30\nconfirmed = true\n'
    )
    found = tables(day, prices_file=file, default_model="m")
    assert found["prices.table"].level is level
    assert "(confirmed, 2026-06-30, the list)" in found["model.price"].message


def test_prices_that_cannot_be_read(tmp_path: Path) -> None:
    """A broken table is a problem with its own words, and the rest is still looked at."""
    found = tables(prices_file=tmp_path / "none.toml")
    assert found["prices.table"].level is Level.PROBLEM
    assert "none.toml" in found["prices.table"].message
    assert "model.end" in found


def test_the_batches_of_the_model(tmp_path: Path) -> None:
    """It names what a batch costs and holds, and that it is unconfirmed; or that there is none."""
    found = tables(default_model="gpt-6-luna")["model.batches"]
    assert found.level is Level.OK
    assert "within 24 hours; at most 50,000 lines, 200,000,000 bytes" in found.message
    assert "unconfirmed" in found.message
    found = tables(default_model="google/gemini-3.5-flash")["model.batches"]
    assert found.details["hours"] is None
    assert "all goes online" in found.message
    found = tables(batches_file=tmp_path / "none.toml")["model.batches"]
    assert found.level is Level.PROBLEM


@pytest.mark.parametrize(
    ("day", "level"),
    [
        ("2026-07-01", Level.OK),
        ("2026-12-01", Level.WARNING),
        ("2027-01-14", Level.PROBLEM),
    ],
)
def test_the_end_of_the_model(day: str, level: Level) -> None:
    """A model is warned of before its end, and a problem from then on."""
    found = tables(day, default_model="gpt-4o-mini")["model.end"]
    assert found.level is level
    named = "visionq models migrate gpt-4o-mini gpt-6-luna"
    assert (named in (found.advice or "")) == (level is not Level.OK)


def test_the_end_that_the_provider_tells() -> None:
    """Its list is preferred to the table, where it gives a date."""
    settings, today = Settings(default_model="gpt-4o-mini"), dt.date(2027, 1, 20)
    moved = ListedModels(frozenset({"gpt-4o-mini"}), {"gpt-4o-mini": dt.date(2028, 1, 1)})
    silent = ListedModels(frozenset({"gpt-4o-mini"}))
    for listed, level in ((moved, Level.OK), (silent, Level.PROBLEM), (None, Level.PROBLEM)):
        (found,) = [
            one for one in table_findings(settings, today, listed) if one.check == "model.end"
        ]
        assert found.level is level


def test_an_unknown_model() -> None:
    """Of a model that no table knows, price and pictures are reported not to be known."""
    found = tables(default_model="brand-new")
    assert found["model.price"].level is found["model.pictures"].level is Level.WARNING
    assert found["model.end"].level is Level.OK


def test_picture_rules_of_ones_own(tmp_path: Path) -> None:
    """The operator's table decides whether a model is known; a broken one is a problem."""
    file = tmp_path / "vision.toml"
    built_in = (files("visionq.data") / "vision.toml").read_text()
    file.write_text(built_in.replace('"gpt-6-luna"', '"brand-new"'))
    ours: dict[str, Any] = {"vision_file": file, "default_model": "brand-new"}
    assert tables(**ours)["model.pictures"].level is Level.OK
    file.write_text("[[family]]\n")
    found = tables(**ours)["model.pictures"]
    assert found.level is Level.PROBLEM
    assert "vision.toml" in found.message


def test_versions() -> None:
    """Installed parts are listed; a missing one is no fault of a client's install."""
    found = versions_finding()
    assert found.level is Level.OK
    assert set(found.details) == {
        *("python", "visionq", "celery", "kombu", "redis", "openai", "pillow")
    }


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([ok("a", "x")], 0),
        ([warning("a", "x", "do"), not_known("b", "x", "ask")], 0),
        ([problem("a", "x", "do")], 1),
        ([problem(REACHABLE, "x", "do"), problem("a", "x", "do")], 3),
    ],
)
def test_exit_codes(findings: list[Finding], code: int) -> None:
    """Only a problem fails, and Redis out of reach has its own code."""
    assert exit_code_of(findings) == code


def test_report() -> None:
    """The JSON counts each level and holds every finding."""
    assert report([ok("a", "well", n=1), warning("b", "so", "do")]) == {
        "counts": {"ok": 1, "warning": 1, "problem": 0, "not_known": 0},
        "findings": [
            {"check": "a", "level": "ok", "message": "well", "advice": None, "details": {"n": 1}},
            {"check": "b", "level": "warning", "message": "so", "advice": "do", "details": {}},
        ],
    }
