"""What a fleet is: clusters on one flat network, and the mesh that joins them.

Values only, plus the two seams of the project. A `Provider` brings clusters up and
down; a `Mesh` says what joins them. They know nothing of each other, so any provider
may carry any mesh that it can host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Feature(StrEnum):
    """Something a mesh may offer; a requirement names the ones it needs."""

    GLOBAL_SERVICES = "global-services"
    SHARED = "shared"
    AFFINITY = "affinity"
    UDP = "udp"
    SESSION_AFFINITY = "session-affinity"
    NAMESPACE_GATE = "namespace-gate"
    SELECTORLESS = "selector-less-services"
    INTERNAL_TRAFFIC_POLICY = "internal-traffic-policy"
    SVC_FLEET = "svc.fleet-names"
    ENDPOINT_SYNC = "endpoint-slice-sync"
    CACHE_TTL = "peer-cache-ttl"


class Dialect(StrEnum):
    """How a service is marked global: the annotation prefix a document uses."""

    CILIUM = "service.cilium.io"
    LEGACY = "io.cilium"
    FLEET = "fleet.azure.com"


class Writes(StrEnum):
    """What may be written to a cluster through the harness's seam; `clients` holds every request to it."""

    ALL = "all"
    """Our own cluster."""
    MESH = "own objects and the mesh's configuration"
    """Somebody else's, who allowed disruption."""
    OWN = "own objects"
    """Somebody else's: labelled objects in namespaces of ours, and nothing else."""


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """One cluster as a fleet file describes it. CIDRs are dotted-quad strings such as 10.101.0.0/24.

    A file about clusters somebody else made has the last two only; what the rest is the clusters tell when they are
    found, and 0 or empty is what they do not.
    """

    name: str
    id: int = 0
    workers: int = 0
    node_cidr: str = ""
    pod_cidr: str = ""
    service_cidr: str = ""
    context: str = ""
    """Of a kubeconfig that somebody else wrote; empty for a cluster that we make."""
    kubeconfig: str = ""
    """That kubeconfig, or several joined as in $KUBECONFIG; empty for the one that kubectl would use."""


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """A whole fleet file, checked; `source` is the file it was read from.

    `mesh` and `profile` may be empty in a file about clusters somebody else made: then they are guessed when found.
    """

    name: str
    provider: str
    mesh: str
    profile: str
    clusters: tuple[ClusterSpec, ...]
    source: Path
    disruption: bool = False
    """Whoever runs this allows cases that disturb somebody else's mesh or nodes; never said by a file."""

    @property
    def lent(self) -> bool:
        """Whether the clusters are somebody else's."""
        return self.provider == "existing"

    @property
    def here(self) -> bool:
        """Whether this machine carries the clusters, so that they have its processors and no others."""
        return self.provider in ("embedded", "kind")

    @property
    def managed(self) -> bool:
        """Whether a cloud runs the mesh, so that nobody but the cloud may change it, whatever is allowed."""
        return self.lent and "aks-fleet" in (self.mesh, self.profile)

    @property
    def writes(self) -> Writes:
        """What may be written to its clusters. This is the one place that decides it; `clients` enforces it."""
        if not self.lent:
            return Writes.ALL
        return Writes.MESH if self.disruption and not self.managed else Writes.OWN


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: what its file said, and how to talk to it."""

    spec: ClusterSpec
    context: str
    kubeconfig: Path
    """A file; for a cluster somebody else made perhaps several, joined as in $KUBECONFIG."""
    writes: Writes = Writes.ALL

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Fleet:
    """N >= 2 running clusters."""

    spec: FleetSpec
    clusters: tuple[Cluster, ...]
    directory: Path
    """Where the fleet's own files lie (state, logs); never part of a report."""
    python_image: str = ""
    """What pods run that need nothing but Python, where the fleet brings an image of its own; else a public one."""

    def __getitem__(self, name: str) -> Cluster:
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(
            f"no cluster {name!r} in fleet {self.spec.name!r}; it has {', '.join(c.name for c in self.clusters)}"
        )

    def pairs(self) -> Iterator[tuple[Cluster, Cluster]]:
        """Every ordered pair of distinct clusters, in file order."""
        for near in self.clusters:
            for far in self.clusters:
                if near is not far:
                    yield near, far


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """The mesh under test, as the first and last line of every report name it."""

    name: str
    version: str
    disclaimer: str
    """What a verdict about this mesh does not say; empty for a mesh that people run."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}" + (f" ({self.disclaimer})" if self.disclaimer else "")


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """What can be said of a fleet without touching it."""

    name: str
    phase: str
    """absent | starting | ready | failed | dead; lent: somebody else's, neither brought up nor taken down by us"""
    detail: str
    timings: Mapping[str, float]
    """Seconds from `up` to the named step."""


Progress = Callable[[str], None]
"""Called with one line of text whenever there is something to tell a waiting person."""


class Provider(Protocol):
    """Brings clusters up and down."""

    def up(self, spec: FleetSpec, progress: Progress) -> Fleet:
        """Bring the fleet up, or return it when it is already up from the same file.

        Raises `EnvironmentUnfit` (exit 10) with one clear sentence when it cannot; then nothing is left.
        """
        ...

    def find(self, spec: FleetSpec) -> Fleet | None:
        """The running fleet of this spec, or None."""
        ...

    def status(self, name: str) -> FleetStatus: ...

    def down(self, name: str, progress: Progress) -> None:
        """Remove everything the fleet left, however it died. Idempotent."""
        ...


class Mesh(Protocol):
    """What joins the clusters of a fleet."""

    def identity(self) -> MeshIdentity: ...

    def features(self) -> frozenset[Feature]: ...

    def lacks(self) -> Mapping[Feature, str]:
        """Features that the configuration of the clusters leaves out, each with the phrase that says where."""
        ...

    def configuration(self, cluster: Cluster) -> Mapping[str, str]:
        """The mesh's configuration as this cluster reports it."""
        ...

    def status(self, cluster: Cluster) -> Mapping[str, object]:
        """The mesh's own status as this cluster reports it: evidence, never a verdict."""
        ...


class EnvironmentUnfit(Exception):
    """This machine, fleet file or fleet cannot be used; exit code 10. The message is one clear sentence."""
