"""A mesh that somebody else installed and we only look at: Cilium, on its own or as a cloud manages it.

What it is and what it offers is read from `kube-system/cilium-config` of every cluster, once. A feature that the
configuration leaves out in any of them is told as lacking, with the cluster and the key, so a case that needs it is
`unsupported` and not a riddle. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from meshproof.clusters.existing.observation import GLOBAL_BY_DEFAULT, Observed, observe
from meshproof.clusters.fleet import Cluster, Feature, Fleet, MeshIdentity

NAMES = {"cilium": "Cilium", "aks-fleet": "Cilium of AKS Fleet"}
SYNC = "clustermesh-enable-endpoint-sync"
CACHE_TTL = "clustermesh-cache-ttl"


@dataclass(frozen=True, slots=True)
class InstalledMesh:
    """A `Mesh`, as its clusters told it when the fleet was found. `configurations` is by cluster name."""

    name: str
    versions: tuple[str, ...]
    configurations: Mapping[str, Mapping[str, str]]

    def identity(self) -> MeshIdentity:
        version = ", ".join(dict.fromkeys(self.versions)) or "of unknown version"
        return MeshIdentity(NAMES.get(self.name, self.name), version, "")

    def features(self) -> frozenset[Feature]:
        """All that no cluster's configuration leaves out."""
        return frozenset(Feature) - self.lacks().keys()

    def lacks(self) -> Mapping[Feature, str]:
        found = {Feature.SVC_FLEET: "no document of Cilium promises names in svc.fleet"}
        asked = (
            (Feature.NAMESPACE_GATE, GLOBAL_BY_DEFAULT, ()),
            (Feature.ENDPOINT_SYNC, SYNC, ("false",)),
            (Feature.CACHE_TTL, CACHE_TTL, ()),
        )
        for feature, key, off in asked:
            for cluster, config in self.configurations.items():
                if key not in config or config[key] in off:
                    found[feature] = (
                        f"kube-system/cilium-config of {cluster} has {config.get(key, 'no value')} for {key}"
                    )
        for cluster, config in self.configurations.items():
            if config.get("cluster-id", "0") == "0":
                found[Feature.GLOBAL_SERVICES] = (
                    f"cluster-id in kube-system/cilium-config of {cluster} is 0: it is in no mesh"
                )
        return found

    def configuration(self, cluster: Cluster) -> Mapping[str, str]:
        return self.configurations.get(cluster.name, {})

    def status(self, cluster: Cluster) -> Mapping[str, object]:
        """Nothing yet: what Cilium says of itself is read by a command in its agents, which are not ours to enter."""
        del cluster
        return {}


def installed_mesh(fleet: Fleet) -> InstalledMesh:
    """The mesh of these clusters, read from them. Raises EnvironmentUnfit for a cluster that does not answer."""
    with ThreadPoolExecutor(len(fleet.clusters)) as pool:
        seen: list[Observed] = list(pool.map(observe, fleet.clusters))
    configurations = {c.name: its.cilium or {} for c, its in zip(fleet.clusters, seen, strict=True)}
    return InstalledMesh(
        fleet.spec.mesh, tuple(its.cilium_version for its in seen if its.cilium_version), configurations
    )
