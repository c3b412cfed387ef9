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


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """One cluster as a fleet file describes it. CIDRs are dotted-quad strings such as 10.101.0.0/24."""

    name: str
    id: int
    workers: int
    node_cidr: str
    pod_cidr: str
    service_cidr: str


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """A whole fleet file, checked; `source` is the file it was read from."""

    name: str
    provider: str
    mesh: str
    profile: str
    clusters: tuple[ClusterSpec, ...]
    source: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: what its file said, and how to talk to it."""

    spec: ClusterSpec
    context: str
    kubeconfig: Path

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
    """absent | starting | ready | failed | dead"""
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

    def configuration(self, cluster: Cluster) -> Mapping[str, str]:
        """The mesh's configuration as this cluster reports it."""
        ...

    def status(self, cluster: Cluster) -> Mapping[str, object]:
        """The mesh's own status as this cluster reports it: evidence, never a verdict."""
        ...


class EnvironmentUnfit(Exception):
    """This machine, fleet file or fleet cannot be used; exit code 10. The message is one clear sentence."""
