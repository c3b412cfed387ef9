"""Which pod specs the node agent runs."""

from __future__ import annotations

from typing import Any

import pytest

from meshproof.clusters.embedded.nodeagent.podspec import refusals

DEFAULTED: dict[str, Any] = {
    "volumes": [
        {
            "name": "kube-api-access",
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {
                        "downwardAPI": {
                            "items": [
                                {
                                    "path": "namespace",
                                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                                }
                            ]
                        }
                    },
                ],
            },
        },
        {"name": "scratch", "emptyDir": {}},
    ],
    "containers": [
        {
            "name": "c",
            "image": "python",
            "resources": {},
            "volumeMounts": [{"name": "kube-api-access", "readOnly": True, "mountPath": "/var/run/secrets"}],
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
        }
    ],
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "serviceAccount": "default",
    "nodeName": "east-1",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
    "priority": 0,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
}


def with_container(**fields: Any) -> dict[str, Any]:
    return {**DEFAULTED, "containers": [{**DEFAULTED["containers"][0], **fields}]}


def test_a_pod_with_the_api_servers_defaults_is_accepted() -> None:
    """What admission adds to the smallest pod is all known."""
    assert refusals(DEFAULTED) == ()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({**DEFAULTED, "hostNetwork": True}, "spec.hostNetwork"),
        ({**DEFAULTED, "initContainers": [{"name": "i"}]}, "spec.initContainers"),
        ({**DEFAULTED, "runtimeClassName": "kata"}, "spec.runtimeClassName"),
        ({**DEFAULTED, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "spec.volumes[0].hostPath"),
        ({**DEFAULTED, "securityContext": {"sysctls": [{"name": "a"}]}}, "spec.securityContext.sysctls"),
        (with_container(envFrom=[{"configMapRef": {"name": "x"}}]), "spec.containers[0].envFrom"),
        (with_container(securityContext={"privileged": True}), "spec.containers[0].securityContext.privileged"),
        (with_container(ports=[{"containerPort": 1, "hostPort": 1}]), "spec.containers[0].ports[0].hostPort"),
        (with_container(readinessProbe={"grpc": {"port": 1}}), "spec.containers[0].readinessProbe.grpc"),
        (
            with_container(volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "x"}]),
            "spec.containers[0].volumeMounts[0].subPath",
        ),
        (
            with_container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            "spec.containers[0].env[0].valueFrom.secretKeyRef",
        ),
        (
            with_container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
            "spec.containers[0].securityContext.capabilities.add[0]: SYS_ADMIN",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    """A field that the agent would have to ignore refuses the whole pod."""
    assert refusals(spec) == (field,)


def test_a_field_that_says_no_is_no_refusal() -> None:
    """`hostNetwork: false` asks for nothing."""
    assert refusals({**DEFAULTED, "hostNetwork": False, "hostAliases": [], "overhead": {}}) == ()


def test_a_mount_path_cannot_climb() -> None:
    """A mount path with `..` is refused."""
    assert refusals(with_container(volumeMounts=[{"name": "v", "mountPath": "/a/../../etc"}])) != ()
