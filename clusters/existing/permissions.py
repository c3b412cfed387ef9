"""What a run needs to be allowed in a cluster somebody else made: one table, asked about and granted from.

`missing` asks the API server itself, by a SelfSubjectAccessReview for each line, verb and name; `manifest` prints the
same lines as RBAC. So what is checked, what is granted and what a test runs with are one thing.

What RBAC cannot say: that a namespace may only be made, changed or removed if it is ours, for its name is not known
beforehand; and so neither that objects may be made in our namespaces only. Those lines hold for all namespaces. What
keeps us to our own is `ownership`, in this program, and nothing in the cluster. Namespaces made beforehand by somebody
else are not enough for a run: some cases are about namespaces, and make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from meshproof.clusters.fleet import Cluster

ROLE = "meshproof"
KUBE_SYSTEM = "kube-system"
_RBAC = "rbac.authorization.k8s.io"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Permission:
    """Some verbs on one resource. An empty `namespace` is all of them, empty `names` all objects."""

    resource: str
    """With its subresource, such as pods/exec."""
    verbs: tuple[str, ...]
    why: str
    group: str = ""
    namespace: str = ""
    names: tuple[str, ...] = ()
    meshes: tuple[str, ...] = ()
    """Only where the mesh is one of these; empty: everywhere."""
    required: bool = True
    """Without it a run cannot be; else it only knows less."""
    disruption: bool = False
    """Only for cases that disturb the mesh, with --allow-disruption."""

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{','.join(self.verbs)} {what}{' ' + ','.join(self.names) if self.names else ''}{where}"


CILIUM = ("cilium", "aks-fleet")
TABLE: tuple[Permission, ...] = (
    Permission(
        "namespaces",
        ("get", "list", "create", "patch", "delete"),
        "its own: made, annotated, found again by label, removed; the UID of kube-system tells clusters apart",
    ),
    Permission("configmaps", ("create",), "the traffic program, in each of its namespaces"),
    Permission("services", ("list", "create", "patch", "delete"), "the Services under test, and evidence"),
    Permission("pods", ("list", "watch", "create", "delete"), "the pods that ask and answer"),
    Permission("pods/exec", ("get", "create"), "probes are run in client pods, past the network under test"),
    Permission("deployments", ("create",), "the pods that all cases share", group="apps"),
    Permission("replicasets", ("create", "delete"), "the pods of a case's own", group="apps"),
    Permission("replicasets/scale", ("patch",), "a case that scales its pods", group="apps"),
    Permission("endpointslices", ("list",), "what the API tells of endpoints, and evidence", group="discovery.k8s.io"),
    Permission("events", ("list",), "why a pod is not ready, and evidence"),
    Permission("nodes", ("list",), "how many there are, and their pod networks"),
    Permission(
        "configmaps",
        ("get",),
        "the mesh's configuration: features, cluster name and id",
        namespace=KUBE_SYSTEM,
        names=("cilium-config",),
        meshes=CILIUM,
    ),
    Permission(
        "configmaps",
        ("get",),
        "the reference mesh's configuration and status",
        namespace=KUBE_SYSTEM,
        names=("reference-mesh-config", "reference-mesh-status"),
        meshes=("reference",),
    ),
    Permission(
        "daemonsets",
        ("get",),
        "the version of Cilium",
        group="apps",
        namespace=KUBE_SYSTEM,
        names=("cilium",),
        meshes=CILIUM,
        required=False,
    ),
    Permission("servicecidrs", ("list",), "the service network", group="networking.k8s.io", required=False),
    Permission("networkpolicies", ("list",), "policies that may cut probes", group="networking.k8s.io", required=False),
    Permission(
        "ciliumclusterwidenetworkpolicies",
        ("list",),
        "policies that may cut probes",
        group="cilium.io",
        meshes=CILIUM,
        required=False,
    ),
    Permission(
        "configmaps",
        ("patch",),
        "cases that change the reference mesh's settings",
        namespace=KUBE_SYSTEM,
        names=("reference-mesh-config",),
        meshes=("reference",),
        disruption=True,
    ),
)


def needed(mesh: str, *, disruption: bool = False) -> tuple[Permission, ...]:
    """The lines that matter for this mesh; for an unknown one (empty) those of all meshes, as far as they only read."""
    return tuple(
        line
        for line in TABLE
        if (not line.meshes or not mesh or mesh in line.meshes) and (disruption or not line.disruption)
    )


def missing(cluster: Cluster, lines: Iterable[Permission]) -> list[Permission]:
    """The lines, each with only what whoever asks does not have of it. Raises what the client raises."""
    found = []
    for line in lines:
        lacking = [
            (verb, name) for verb in line.verbs for name in line.names or ("",) if not _may(cluster, line, verb, name)
        ]
        if lacking:
            verbs = tuple(dict.fromkeys(verb for verb, _ in lacking))
            names = tuple(name for name in dict.fromkeys(name for _, name in lacking) if name)
            found.append(replace(line, verbs=verbs, names=names))
    return found


def _may(cluster: Cluster, line: Permission, verb: str, name: str) -> bool:
    from meshproof.clusters.api import call

    resource, _, part = line.resource.partition("/")
    asked = {"verb": verb, "group": line.group, "resource": resource, "subresource": part}
    asked |= {"namespace": line.namespace, "name": name}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
    }
    return bool(call(cluster, "POST", _REVIEWS, body)["status"].get("allowed"))


def manifest(lines: Iterable[Permission], subject: str) -> list[dict[str, Any]]:
    """The roles that grant these lines, bound to `user:NAME`, `group:NAME` or `serviceaccount:NAMESPACE:NAME`.

    Raises ValueError for any other subject.
    """
    whom = _subject(subject)
    by_namespace: dict[str, list[Permission]] = {}
    for line in lines:
        by_namespace.setdefault(line.namespace, []).append(line)
    made: list[dict[str, Any]] = []
    for namespace, its in by_namespace.items():
        kind = "Role" if namespace else "ClusterRole"
        metadata = {"name": ROLE, **({"namespace": namespace} if namespace else {})}
        labelled = {**metadata, "labels": {"app.kubernetes.io/part-of": "meshproof"}}
        rules = list(map(dict, _rules(its)))
        made.append({"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": labelled, "rules": rules})
        reference = {"apiGroup": _RBAC, "kind": kind, "name": ROLE}
        made.append(
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": f"{kind}Binding",
                "metadata": labelled,
                "subjects": [whom],
                "roleRef": reference,
            }
        )
    return made


def _rules(lines: Iterable[Permission]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        rule: dict[str, Any] = {"apiGroups": [line.group], "resources": [line.resource]}
        yield rule | ({"resourceNames": list(line.names)} if line.names else {}) | {"verbs": list(line.verbs)}


def _subject(text: str) -> dict[str, str]:
    kind, _, name = text.partition(":")
    if kind in ("user", "group") and name:
        return {"apiGroup": _RBAC, "kind": kind.capitalize(), "name": name}
    namespace, _, name = name.partition(":")
    if kind == "serviceaccount" and namespace and name:
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    raise ValueError(f"{text!r} is no subject: write user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME")
