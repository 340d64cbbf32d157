"""Rules and dashboards: each alert fires in its test, and nothing asks for what is not served."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from monitoring.exporter.catalogue import ALL
from visionq.cli import cli

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
RULES = sorted(MONITORING.glob("**/*rules.yml"))
TESTS = sorted(MONITORING.glob("**/*_test.yml"))
DASHBOARDS = sorted(MONITORING.glob("grafana/dashboards/*.json"))
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian's package `prometheus`)"
)
SERVED = {metric.name for metric in ALL}


def rules() -> list[dict[str, Any]]:
    documents = [yaml.safe_load(path.read_text("utf-8")) for path in RULES]
    return [
        rule for document in documents for group in document["groups"] for rule in group["rules"]
    ]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def panels() -> list[dict[str, Any]]:
    documents = [json.loads(path.read_text("utf-8")) for path in DASHBOARDS]
    return [
        panel for document in documents for panel in document["panels"] if panel["type"] != "row"
    ]


def metrics_in(expression: str) -> set[str]:
    """Return the metrics that an expression asks for; parts of a histogram are that."""
    names = set(re.findall(r"\bvisionq[_:][\w:]+", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def run(*arguments: str) -> None:
    done = subprocess.run(  # Debian's own program
        [str(PROMTOOL), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_are_rules(path: Path) -> None:
    """Prometheus takes the rules as they are."""
    run("check", "rules", str(path))


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire(path: Path) -> None:
    """Each alert fires when it should, and none on a quiet day."""
    run("test", "rules", str(path))


@needs_promtool
def test_configuration_is_one(tmp_path: Path) -> None:
    """Prometheus takes its configuration and finds the rules beside it."""
    shutil.copytree(MONITORING / "prometheus", tmp_path / "prometheus")
    run("check", "config", str(tmp_path / "prometheus" / "prometheus.yml"))


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    """No alert is without a test that expects it, and with its words."""
    fired = {
        case["alertname"]
        for path in TESTS
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]
        for case in test.get("alert_rule_test", [])
        if any(alert.get("exp_annotations") for alert in case.get("exp_alerts", []))
    }
    assert fired == set(ALERTS)


@pytest.mark.parametrize("rule", ALERTS.values(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """An alert has a severity, one line that says what is, and a text that says what to do."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert "\n" not in rule["annotations"]["summary"].strip()
    assert len(rule["annotations"]["description"]) > 80


@pytest.mark.parametrize("rule", ALERTS.values(), ids=lambda rule: rule["alert"])
def test_commands_in_alerts_exist(rule: dict[str, Any]) -> None:
    """A command that an alert names can be given."""
    for words in re.findall(r"`visionq ([^`]+)`", rule["annotations"]["description"]):
        command: click.Command | None = cli
        for word in words.split():
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), word)
                assert command is not None, words
            elif word.startswith("--"):
                assert command is not None
                options = {name for one in command.params for name in one.opts}
                assert word in options, words


def test_alerts_are_explained() -> None:
    """The pages for operators explain every alert, and no other."""
    for page in ("operations.md", "operations.ru.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        assert set(re.findall(r"`(Visionq\w+)`", text)) == set(ALERTS), page


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_ask_for_what_is_served(rule: dict[str, Any]) -> None:
    """A rule asks for metrics that the exporter serves, or that another rule records."""
    asked = metrics_in(rule["expr"])
    assert asked
    assert asked <= SERVED | RECORDED


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_panels_ask_for_what_is_served(panel: dict[str, Any]) -> None:
    """A panel asks the provisioned source for metrics that exist, and says what it shows."""
    assert panel["description"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "visionq"
        asked = metrics_in(target["expr"])
        assert asked
        assert asked <= SERVED | RECORDED


def test_the_dashboard_is_provisioned() -> None:
    """Panels have ids and places of their own, and the source that they name is provisioned."""
    source = yaml.safe_load(
        (MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8")
    )
    assert [one["uid"] for one in source["datasources"]] == ["visionq"]
    (dashboard,) = [json.loads(path.read_text("utf-8")) for path in DASHBOARDS]
    ids = [panel["id"] for panel in dashboard["panels"]]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(places)) == len(places)
