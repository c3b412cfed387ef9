"""Which services a cluster shares, and what it says about them (the `select` seam).

The rules are those of Cilium's annotations: the new key wins over its old alias; `shared` counts
only when `global` is true and is true when absent; a Namespace may opt out. The namespace gate is open by
default, as upstream has it and AKS Fleet has not.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.world import Endpoint, Service

GLOBAL = ("service.cilium.io/global", "io.cilium/global-service")
SHARED = ("service.cilium.io/shared", "io.cilium/shared-service")
NAMESPACE_GLOBAL = ("clustermesh.cilium.io/global",)


def says_true(annotations: Mapping[str, str], keys: tuple[str, ...], absent: bool) -> bool:
    """What the first of `keys` that is present says; anything but "true" (in any case) is false."""
    for key in keys:
        if key in annotations:
            return annotations[key].lower() == "true"
    return absent


def is_global(service: Service, namespace: Mapping[str, str]) -> bool:
    """Whether the service takes part in the mesh; `namespace` holds its Namespace's annotations."""
    return says_true(service.annotations, GLOBAL, absent=False) and says_true(namespace, NAMESPACE_GLOBAL, absent=True)


def select(
    member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
) -> Record | None:
    """The record to publish for one service, or None when it is not shared."""
    if not service.address or not is_global(service, namespace):
        return None
    if not says_true(service.annotations, SHARED, absent=True):
        return None
    return Record(
        member=member,
        namespace=service.namespace,
        name=service.name,
        ports=service.ports,
        backends={endpoint.address: endpoint.ports for endpoint in endpoints if endpoint.ready},
    )
