"""Clusters that somebody else made: found by their contexts, never brought up and never taken down.

`find` looks at each of them and fills in what nobody had to declare. It is refused (exit code 10) when two contexts are
one cluster, when a cluster does not answer, and when nobody can say which mesh joins them. Nothing is written, neither
to a cluster nor to a kubeconfig; on this machine there is one folder, for the lock that keeps runs apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from meshproof.clusters.existing.kubeconfigs import NAME, require_context
from meshproof.clusters.existing.observation import Observed, observe
from meshproof.clusters.fleet import Cluster, ClusterSpec, EnvironmentUnfit, Fleet, FleetSpec, FleetStatus, Progress
from meshproof.clusters.places import state_directory


@dataclass(frozen=True, slots=True)
class ExistingProvider:
    """A `Provider` of what is there already."""

    def up(self, spec: FleetSpec, progress: Progress) -> Fleet:
        """The fleet, as `find` has it, once preflight says that a run can stand on it."""
        from meshproof.clusters.existing import preflight

        preflight.require(spec, progress)
        fleet = found(spec)
        progress(f"fleet {spec.name!r} is somebody else's: it is used as it is, and stays as it is")
        return fleet

    def find(self, spec: FleetSpec) -> Fleet | None:
        """The fleet with all that its clusters tell. Raises EnvironmentUnfit with what to do about it."""
        return found(spec)

    def status(self, name: str) -> FleetStatus:
        """That it is not ours; how it is, `meshproof doctor` tells."""
        return FleetStatus(name, "lent", "somebody else's clusters; meshproof doctor looks at them", {})

    def down(self, name: str, progress: Progress) -> None:
        """Nothing: clusters somebody else made are never taken down."""
        progress(f"fleet {name!r} is somebody else's and stays; meshproof cleanup removes what runs left in it")


def found(spec: FleetSpec) -> Fleet:
    """The fleet of this file, looked at. Raises EnvironmentUnfit."""
    clusters = reach(spec)
    with ThreadPoolExecutor(len(clusters)) as pool:
        seen = dict(zip(clusters, pool.map(observe, clusters), strict=True))
    return fleet_of(spec, seen)


def reach(spec: FleetSpec) -> tuple[Cluster, ...]:
    """Its clusters as they can be talked to, nothing asked yet. Raises EnvironmentUnfit for a context there is not."""
    return tuple(Cluster(one, one.context, require_context(one), spec.writes) for one in spec.clusters)


def fleet_of(spec: FleetSpec, seen: Mapping[Cluster, Observed]) -> Fleet:
    """The fleet, its spec filled in with what was seen of each cluster. Raises EnvironmentUnfit."""
    if same := twins(seen):
        raise EnvironmentUnfit(same)
    if len(seen) < 2:
        raise EnvironmentUnfit(f"a cross-cluster network needs two clusters, fleet {spec.name!r} has {len(seen)}")
    mesh = spec.mesh or _agreed("mesh", {cluster.name: its.mesh for cluster, its in seen.items()})
    profile = spec.profile or _agreed("profile", {cluster.name: its.profile for cluster, its in seen.items()})
    specs = tuple(_filled(cluster.spec, its) for cluster, its in seen.items())
    whole = replace(spec, mesh=mesh, profile=profile, clusters=specs)
    clusters = tuple(replace(cluster, spec=own, writes=whole.writes) for cluster, own in zip(seen, specs, strict=True))
    # Runs on the same clusters keep apart by a lock in this folder, whatever their fleet files are called.
    digest = hashlib.sha256(" ".join(sorted(its.uid for its in seen.values())).encode()).hexdigest()[:12]
    directory = state_directory() / NAME / digest
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Fleet(whole, clusters, directory)


def twins(seen: Mapping[Cluster, Observed]) -> str:
    """Which contexts are one and the same cluster, in a sentence; empty when none are."""
    contexts: dict[str, list[str]] = {}
    for cluster, its in seen.items():
        contexts.setdefault(its.uid, []).append(cluster.context)
    told = [" and ".join(names) for names in contexts.values() if len(names) > 1]
    if not told:
        return ""
    return (
        f"contexts {'; '.join(told)} are one cluster: their kube-system namespaces have the same UID; "
        "name one context for each cluster"
    )


def _filled(spec: ClusterSpec, its: Observed) -> ClusterSpec:
    networks: Sequence[str] = its.pod_networks
    pods = networks[0] if len(networks) == 1 else ""
    return replace(spec, id=its.id, workers=its.nodes, pod_cidr=pods, service_cidr=its.service_network)


def _agreed(what: str, guesses: Mapping[str, str]) -> str:
    """What all clusters look like. Raises EnvironmentUnfit when they do not agree, or nothing can be told."""
    words = set(guesses.values())
    if len(words) == 1 and (word := next(iter(words))):
        return word
    told = ", ".join(f"{cluster} looks like {guess or 'none that we know'}" for cluster, guess in guesses.items())
    raise EnvironmentUnfit(
        f"nobody said which {what} is under test, and {told}; say it with --{what} or in a fleet file"
    )
