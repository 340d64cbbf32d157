"""The manifests for Kubernetes: of the right form, closed, and with time to finish calls."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # no annotations
import pytest
import yaml
from click.testing import CliRunner

from monitoring.exporter.catalogue import ALL
from visionq.cli import cli
from visionq.pricing.flex import longest_call
from visionq.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
#: Kinds that others bring into a cluster: their schemas are in no package.
FOREIGN = {"ScaledObject", "ServiceMonitor"}
VERSIONS = ("1.27", kubernetes_validate.latest_version())


def manifests() -> list[dict[str, Any]]:
    """Return every document that the kustomizations name."""
    found = []
    for kustomization in sorted(FOLDER.glob("**/kustomization.yaml")):
        for name in yaml.safe_load(kustomization.read_text("utf-8"))["resources"]:
            text = (kustomization.parent / name).read_text("utf-8")
            found += list(yaml.safe_load_all(text))
    return found


MANIFESTS = manifests()
OWN = [one for one in MANIFESTS if one["kind"] not in FOREIGN]
DEPLOYMENTS = {one["metadata"]["name"]: one for one in OWN if one["kind"] == "Deployment"}


def named(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


def one_of(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in MANIFESTS if named(one) == f"{kind}-{name}"]
    return found


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", OWN, ids=named)
def test_manifests_keep_to_the_schemas(document: dict[str, Any], version: str) -> None:
    """Each manifest is of the form that Kubernetes publishes, with no field that it lacks."""
    kubernetes_validate.validate(document, version, strict=True)


def test_a_slip_would_be_told() -> None:
    """A field with a wrong name, or a value of a wrong kind, does not pass."""
    for path, value in ((("replica",), 2), (("replicas",), "two")):
        slipped = copy.deepcopy(DEPLOYMENTS["flower"])
        slipped["spec"][path[0]] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(slipped, VERSIONS[0], strict=True)


def test_every_file_is_named() -> None:
    """No manifest lies beside its kustomization unused."""
    for kustomization in FOLDER.glob("**/kustomization.yaml"):
        named_there = yaml.safe_load(kustomization.read_text("utf-8"))["resources"]
        files = {path.name for path in kustomization.parent.glob("*.yaml")}
        assert set(named_there) == files - {"kustomization.yaml"}


@pytest.mark.parametrize("document", DEPLOYMENTS.values(), ids=named)
def test_pods_have_few_rights(document: dict[str, Any]) -> None:
    """Pods run as nobody, write to their own folders alone, and have bounded memory."""
    spec = pod(document)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["livenessProbe"]


def test_user_is_that_of_the_image() -> None:
    """The number that pods run as is the image's last user."""
    (user,) = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    users = {pod(one)["securityContext"]["runAsUser"] for one in DEPLOYMENTS.values()}
    assert users == {int(user)}


@pytest.mark.parametrize("document", DEPLOYMENTS.values(), ids=named)
def test_start_lines_are_commands_that_exist(document: dict[str, Any]) -> None:
    """A container starts with `visionq` and a command and options that it has."""
    program, command, *options = pod(document)["containers"][0]["args"]
    assert program == "visionq"
    help_text = CliRunner().invoke(cli, [command, "--help"]).output
    assert help_text.startswith(f"Usage: cli {command} ")
    assert all(option in help_text for option in options if option.startswith("--"))


def test_key_is_given_to_workers_alone() -> None:
    """The secret with the provider's key is named by the worker, and by nobody else."""
    holders = [name for name, one in DEPLOYMENTS.items() if "visionq-provider" in repr(one)]
    assert holders == ["worker"]


def test_workers_may_finish_their_calls() -> None:
    """A stopping worker gets 30 s more than the longest call, and a drain takes one at a time."""
    timeout = one_of("ConfigMap", "visionq")["data"]["VISIONQ_REQUEST_TIMEOUT"]
    assert float(timeout) == Settings.model_fields["request_timeout"].default
    grace = pod(DEPLOYMENTS["worker"])["terminationGracePeriodSeconds"]
    assert grace >= longest_call(Settings()) + 30
    budget = one_of("PodDisruptionBudget", "worker")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = DEPLOYMENTS["worker"]["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"] == labels


def test_services_lead_to_pods() -> None:
    """Each service selects the pods of its name, by a port that they have."""
    for service in (one for one in OWN if one["kind"] == "Service"):
        template = DEPLOYMENTS[service["metadata"]["name"]]["spec"]["template"]
        assert service["spec"]["selector"] == template["metadata"]["labels"]
        (port,) = template["spec"]["containers"][0]["ports"]
        (shown,) = service["spec"]["ports"]
        assert (shown["targetPort"], shown["port"]) == (port["name"], port["containerPort"])


def test_workers_scale_with_the_backlog() -> None:
    """KEDA scales the worker, within bounds, by metrics that the exporter serves."""
    scaled = one_of("ScaledObject", "worker")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert spec["scaleTargetRef"]["name"] in DEPLOYMENTS
    assert "replicas" not in DEPLOYMENTS["worker"]["spec"], "two would pull at one number"
    assert 0 < spec["minReplicaCount"] < spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "prometheus"
    assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}
    asked = set(re.findall(r"\bvisionq_\w+", trigger["metadata"]["query"]))
    assert asked
    assert asked <= {metric.name for metric in ALL}


def test_the_monitor_finds_the_exporter() -> None:
    """The Prometheus operator is led to the exporter's service, by a port that it has."""
    monitor = one_of("ServiceMonitor", "exporter")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    service = one_of("Service", "exporter")
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]


def test_rules_become_a_manifest() -> None:
    """The commands of the page make a PrometheusRule of the rules, word for word."""
    page = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
    (commands,) = re.findall(r"(\{\n  printf .*?\n\}) \| kubectl", page, re.DOTALL)
    done = subprocess.run(  # noqa: S602  # the page's own words
        commands, shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    )
    made = yaml.safe_load(done.stdout)
    rules = yaml.safe_load((ROOT / "monitoring/prometheus/visionq.rules.yml").read_text("utf-8"))
    assert (made["kind"], made["spec"]) == ("PrometheusRule", rules)
