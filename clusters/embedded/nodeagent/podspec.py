"""Which pod specs this agent runs: everything it does not know is refused, by the path of the field.

`refusals` walks the spec against tables of known fields. A field is fine when it is in the table of its level and
its value is one the table allows; a field that is absent, null, false, empty or zero says nothing and is always
fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Object = Mapping[str, Any]
Check = Callable[[Any, str], Iterator[str]]


def refusals(spec: Object) -> tuple[str, ...]:
    """What of the pod spec cannot be honoured, one phrase each: 'spec.hostNetwork'. Empty: the pod can run."""
    return tuple(_pod(spec, "spec"))


def _any(_value: Any, _path: str) -> Iterator[str]:
    yield from ()


def _one_of(*allowed: Any) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if value not in allowed:
            yield f"{path}: {value}"

    return check


def _fields(known: Mapping[str, Check]) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        for name, inner in value.items():
            if inner in (None, False, "", 0) or inner == [] or (inner == {} and name not in known):
                continue
            if name not in known:
                yield f"{path}.{name}"
            else:
                yield from known[name](inner, f"{path}.{name}")

    return check


def _each(item: Check) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        for index, inner in enumerate(value):
            yield from item(inner, f"{path}[{index}]")

    return check


FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.podIP",
    "status.podIPs",
    "status.hostIP",
    "status.hostIPs",
)


def _field_path(value: Any, path: str) -> Iterator[str]:
    subscripted = value.startswith(("metadata.labels['", "metadata.annotations['")) and value.endswith("']")
    if value not in FIELD_PATHS and not subscripted:
        yield f"{path}: {value}"


def _downward_path(value: Any, path: str) -> Iterator[str]:
    if value not in ("metadata.labels", "metadata.annotations"):
        yield from _field_path(value, path)


def _absolute(value: Any, path: str) -> Iterator[str]:
    if not value.startswith("/") or ".." in value.split("/"):
        yield f"{path}: {value} (an absolute path without .. is needed)"


_seccomp = _fields({"type": _one_of("RuntimeDefault", "Unconfined")})
_command = _fields({"command": _any})
_probe = _fields(
    {
        "httpGet": _fields({"path": _any, "port": _any, "scheme": _one_of("HTTP", "HTTPS"), "httpHeaders": _any}),
        "tcpSocket": _fields({"port": _any}),
        "exec": _command,
        "initialDelaySeconds": _any,
        "periodSeconds": _any,
        "timeoutSeconds": _any,
        "successThreshold": _any,
        "failureThreshold": _any,
    }
)
_items = _each(_fields({"key": _any, "path": _any, "mode": _any}))
_config_map = _fields({"name": _any, "items": _items, "defaultMode": _any, "optional": _any})
_downward_items = _each(
    _fields(
        {"path": _any, "mode": _any, "fieldRef": _fields({"apiVersion": _one_of("v1"), "fieldPath": _downward_path})}
    )
)
_volume = _fields(
    {
        "name": _any,
        "configMap": _config_map,
        "emptyDir": _fields({"medium": _one_of("Memory"), "sizeLimit": _any}),
        "downwardAPI": _fields({"items": _downward_items, "defaultMode": _any}),
        "projected": _fields(
            {
                "defaultMode": _any,
                "sources": _each(
                    _fields(
                        {
                            "configMap": _config_map,
                            "downwardAPI": _fields({"items": _downward_items}),
                            "serviceAccountToken": _fields({"audience": _any, "expirationSeconds": _any, "path": _any}),
                        }
                    )
                ),
            }
        ),
    }
)
_container = _fields(
    {
        "name": _any,
        "image": _any,
        "imagePullPolicy": _any,
        "command": _any,
        "args": _any,
        "workingDir": _absolute,
        "ports": _each(_fields({"name": _any, "containerPort": _any, "protocol": _one_of("TCP", "UDP")})),
        "env": _each(
            _fields(
                {
                    "name": _any,
                    "value": _any,
                    "valueFrom": _fields(
                        {"fieldRef": _fields({"apiVersion": _one_of("v1"), "fieldPath": _field_path})}
                    ),
                }
            )
        ),
        "resources": _fields({"limits": _any, "requests": _any}),
        "resizePolicy": _any,
        "volumeMounts": _each(
            _fields(
                {
                    "name": _any,
                    "mountPath": _absolute,
                    "readOnly": _any,
                    "mountPropagation": _one_of("None"),
                    "recursiveReadOnly": _one_of("Disabled"),
                }
            )
        ),
        "readinessProbe": _probe,
        "livenessProbe": _probe,
        "startupProbe": _probe,
        "lifecycle": _fields({"preStop": _fields({"exec": _command, "sleep": _fields({"seconds": _any})})}),
        "terminationMessagePath": _absolute,
        "terminationMessagePolicy": _one_of("File", "FallbackToLogsOnError"),
        "securityContext": _fields(
            {
                "runAsUser": _any,
                "runAsGroup": _any,
                "runAsNonRoot": _any,
                "allowPrivilegeEscalation": _any,
                "capabilities": _fields({"drop": _any, "add": _each(_one_of("NET_BIND_SERVICE"))}),
                "readOnlyRootFilesystem": _any,
                "seccompProfile": _seccomp,
                "procMount": _one_of("Default"),
            }
        ),
    }
)
_pod = _fields(
    {
        "containers": _each(_container),
        "volumes": _each(_volume),
        "restartPolicy": _one_of("Always", "OnFailure", "Never"),
        "terminationGracePeriodSeconds": _any,
        "dnsPolicy": _one_of("ClusterFirst", "Default", "None"),
        "dnsConfig": _fields({"nameservers": _any, "searches": _any, "options": _any}),
        "serviceAccountName": _any,
        "serviceAccount": _any,
        "automountServiceAccountToken": _any,
        "enableServiceLinks": _any,
        "nodeName": _any,
        "hostname": _any,
        "subdomain": _any,
        "hostUsers": _one_of(True),
        "os": _fields({"name": _one_of("linux")}),
        "resources": _fields({"limits": _any, "requests": _any}),
        "securityContext": _fields(
            {
                "runAsUser": _any,
                "runAsGroup": _any,
                "runAsNonRoot": _any,
                "supplementalGroups": _any,
                "supplementalGroupsPolicy": _one_of("Merge"),
                "fsGroup": _any,
                "fsGroupChangePolicy": _any,
                "seccompProfile": _seccomp,
            }
        ),
        # The scheduler's business, done before a pod gets here.
        "affinity": _any,
        "nodeSelector": _any,
        "tolerations": _any,
        "topologySpreadConstraints": _any,
        "schedulerName": _any,
        "schedulingGates": _any,
        "priority": _any,
        "priorityClassName": _any,
        "preemptionPolicy": _any,
    }
)
