"""The manifests for Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from strangler.config.load import load_policy
from tests.deploy.material import (
    DEPLOY,
    assert_it_drains_within,
    assert_it_refuses_before_it_is_killed,
    document,
    judged,
    served,
    tool,
)

FOLDER = DEPLOY / "kubernetes"
MANIFESTS = tuple(document("kubernetes/kustomization.yaml")["resources"])


def pod() -> dict[str, Any]:
    template: dict[str, Any] = document("kubernetes/statefulset.yaml")["spec"]["template"]
    return template


def container() -> dict[str, Any]:
    (only,) = pod()["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_schemas_of_kubernetes_hold(name: str) -> None:
    judged(tool("kubernetes-validate"), "--strict", FOLDER / name)


def test_kustomize_puts_all_of_it_together(tmp_path: Path) -> None:
    whole = tmp_path / "whole.yaml"
    whole.write_text(judged(tool("kubectl"), "kustomize", FOLDER, environment={"KUBECONFIG": str(tmp_path)}).stdout)
    judged(tool("kubernetes-validate"), "--strict", whole)
    made = {(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(whole.read_text())}
    assert made == {
        ("ConfigMap", "strangler-routes"),
        ("Service", "strangler"),
        ("StatefulSet", "strangler"),
        ("NetworkPolicy", "strangler"),
    }


def test_the_settings_are_understood_and_the_pod_has_time_to_drain(tmp_path: Path) -> None:
    (tmp_path / "identity-key").write_text("0123456789abcdef" * 4)
    keys = next(mount["mountPath"] for mount in container()["volumeMounts"] if mount["name"] == "keys")
    environment = {each["name"]: each["value"].replace(keys, str(tmp_path)) for each in container()["env"]}
    settings, paths = served(container()["args"], environment)
    assert settings.identity_key == "0123456789abcdef" * 4
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert {str(path) for path in paths} < mounts
    assert str(Path(settings.store.removeprefix("sqlite:///")).parent) in mounts
    pause = float(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert_it_drains_within(f"{pod()['spec']['terminationGracePeriodSeconds']}s", settings, before=pause)
    assert_it_refuses_before_it_is_killed(container()["resources"]["limits"]["memory"], settings)
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert (settings.listen[0].port, settings.ops.port) == (ports["http"], ports["operations"])


def test_one_pod_owns_the_store() -> None:
    whole = document("kubernetes/statefulset.yaml")["spec"]
    assert whole["replicas"] == 1
    assert whole["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_the_policy_loads_and_can_change_while_it_runs() -> None:
    assert not load_policy([FOLDER / "routes.yaml"], {}).warnings
    assert all("subPath" not in mount for mount in container()["volumeMounts"])
    (generated,) = document("kubernetes/kustomization.yaml")["configMapGenerator"]
    assert generated["options"]["disableNameSuffixHash"]


def test_selectors_find_the_pod_and_ports_its_names() -> None:
    labels = pod()["metadata"]["labels"]
    service, policy = document("kubernetes/service.yaml")["spec"], document("kubernetes/networkpolicy.yaml")["spec"]
    assert document("kubernetes/statefulset.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert service["selector"] == policy["podSelector"]["matchLabels"] == labels
    names = {port["name"] for port in container()["ports"]}
    asked = {container()[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    let_in = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert asked == {"operations"}
    assert let_in == names
    assert {port["targetPort"] for port in service["ports"]} == {"http"}  # operations are no service


def test_the_pod_has_no_rights() -> None:
    assert pod()["spec"]["securityContext"]["runAsNonRoot"]
    assert not pod()["spec"]["automountServiceAccountToken"]
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
