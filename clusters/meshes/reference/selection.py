"""What a Service's annotations mean, and what a cluster says about it (the `select` seam).

The rules are those of Cilium's annotations: the new key wins over its old alias; `shared` counts
only when `global` is true and is true when absent; a Namespace may opt out, or must opt in where the mesh-wide
default is closed (upstream's is open, AKS Fleet's is not). `fleet.azure.com/exported: "true"` says global and shared
in one word, whatever the others say. An affinity that is not known is none.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.world import Endpoint, Service

GLOBAL = ("service.cilium.io/global", "io.cilium/global-service")
SHARED = ("service.cilium.io/shared", "io.cilium/shared-service")
AFFINITY = ("service.cilium.io/affinity", "io.cilium/service-affinity")
EXPORTED = ("fleet.azure.com/exported",)
NAMESPACE_GLOBAL = ("clustermesh.cilium.io/global",)
AFFINITIES = ("local", "remote", "none")


def says_true(annotations: Mapping[str, str], keys: tuple[str, ...], absent: bool) -> bool:
    """What the first of `keys` that is present says; anything but "true" (in any case) is false."""
    for key in keys:
        if key in annotations:
            return annotations[key].lower() == "true"
    return absent


def is_global(service: Service, namespace: Mapping[str, str]) -> bool:
    """Whether the service takes part in the mesh; `namespace` holds its Namespace's annotations."""
    marked = says_true(service.annotations, GLOBAL, absent=False) or says_true(service.annotations, EXPORTED, False)
    return marked and says_true(namespace, NAMESPACE_GLOBAL, absent=True)


def is_shared(service: Service) -> bool:
    """Whether a global service gives its own backends to others."""
    return says_true(service.annotations, EXPORTED, False) or says_true(service.annotations, SHARED, absent=True)


def is_exported(service: Service, namespace: Mapping[str, str]) -> bool:
    """Whether the service has a name under svc.fleet."""
    return says_true(service.annotations, EXPORTED, False) and is_global(service, namespace)


def affinity(service: Service) -> str:
    """local, remote or none; none also when there is no such annotation or its value is unknown."""
    for key in AFFINITY:
        if key in service.annotations:
            said = service.annotations[key].lower()
            return said if said in AFFINITIES else "none"
    return "none"


def select(
    member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
) -> Record | None:
    """The record to publish for one service, or None when it is not shared."""
    if not service.address or not is_global(service, namespace) or not is_shared(service):
        return None
    return Record(
        member=member,
        namespace=service.namespace,
        name=service.name,
        ports=service.ports,
        backends={e.address: e.ports for e in endpoints if e.ready and not e.terminating},
        exported=is_exported(service, namespace),
    )
