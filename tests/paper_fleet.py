"""A fleet on paper: the pure pipelines of every cluster's exporter and agents, and records that need no wire.

A step shows every cluster its world once, tells the peers what changed and has every node decide. Limits: no time but
what a test pretends, and every agent sees every step, none of the states between two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from meshproof.clusters.meshes.reference.balance import Balance, Offering
from meshproof.clusters.meshes.reference.defects import Defect, wrapped
from meshproof.clusters.meshes.reference.feed import Delete, Event, Put
from meshproof.clusters.meshes.reference.merge import Frontend
from meshproof.clusters.meshes.reference.naming import Names
from meshproof.clusters.meshes.reference.pipeline import Pipeline, Site
from meshproof.clusters.meshes.reference.records import Key, Member, Port, Record
from meshproof.clusters.meshes.reference.ruleset import Ruleset, target
from meshproof.clusters.meshes.reference.selection import NAMESPACE_GLOBAL
from meshproof.clusters.meshes.reference.world import Endpoint, Service, World

GATE = NAMESPACE_GLOBAL[0]
HTTP = Port("http", "TCP", 80)
UDP = Port("udp", "UDP", 82)
TARGETS = {80: 8080, 81: 8081, 82: 8082, 8080: 8080}
IDS = {"east": 1, "west": 2, "north": 3}

Stand = tuple[Service, tuple[Endpoint, ...]]
"""A Service and what stands behind it."""

Shares = Mapping[str, Fraction]
"""Backend address -> its part of all new connections; empty when they are refused."""


def service(
    name: str = "echo",
    annotations: Mapping[str, str] | None = None,
    namespace: str = "shop",
    ports: tuple[Port, ...] = (HTTP,),
    session_seconds: int = 0,
    selects: bool = True,
    stands_for: Key | None = None,
) -> Service:
    """A Service, global by default; each (namespace, name) has an address of its own."""
    noted = {"service.cilium.io/global": "true"} if annotations is None else annotations
    address = f"172.20.{len(namespace)}.{sum(name.encode()) % 250}"
    return Service(namespace, name, address, ports, noted, session_seconds, False, selects, stands_for)


def pods(cluster: str, *ready: bool, ports: tuple[Port, ...] = (HTTP,)) -> tuple[Endpoint, ...]:
    """As many pods of a cluster as there are arguments, each ready or not."""
    serves = {port.name: (port.protocol, TARGETS[port.number]) for port in ports}
    return tuple(Endpoint(f"10.{IDS[cluster]}.0.{n}", serves, it, serving=it) for n, it in enumerate(ready, start=1))


def world(*stands: Stand, gates: Mapping[str, str] | None = None) -> World:
    """A cluster with these services and its own `kubernetes`; `gates`: namespace -> "false" where it is not global."""
    return World(
        services={it.key: it for it, _ in ((KUBERNETES, ()), *stands)},
        endpoints={it.key: behind for it, behind in stands if behind},
        namespaces={name: {GATE: said} for name, said in (gates or {}).items()},
        elsewhere={GATE: "true"},
    )


KUBERNETES = Service("default", "kubernetes", "172.20.0.1", (Port("https", "TCP", 443),), {})


class Paper:
    """Clusters, the first with two nodes, the others with one. `defect` is in force in every component."""

    def __init__(self, defect: Defect | None, *clusters: str) -> None:
        wraps = [defect] if defect is not None else []
        self.clusters = clusters or ("east", "west")
        self._exporters = {name: (Offering(), wrapped(wraps, Site(name))) for name in self.clusters}
        self._agents = {
            Site(name, f"{name}-{n}"): (Balance(), wrapped(wraps, Site(name, f"{name}-{n}")))
            for name in self.clusters
            for n in ((1, 2) if name == self.clusters[0] else (2,))
        }
        self._told: dict[str, dict[Key, Record]] = {name: {} for name in self.clusters}
        self._held: dict[Site, dict[str, dict[Key, Record]]] = {
            site: {peer: {} for peer in self.clusters if peer != site.cluster} for site in self._agents
        }
        self._decided: dict[Site, dict[tuple[Key, int], tuple[Frontend, Ruleset]]] = {}
        self.names: dict[str, Names] = {}
        self.step({name: world() for name in self.clusters})

    def step(self, worlds: Mapping[str, World]) -> Paper:
        """Every cluster is as `worlds` says: export, tell, decide."""
        for name, (offering, pipeline) in self._exporters.items():
            records = offering.records(pipeline, Member(name, IDS[name]), worlds[name])
            for event in _events(self._told[name], records):
                self._tell(name, event)
            self._told[name] = records
        for name, (_, pipeline) in self._exporters.items():
            self.names[name] = pipeline.resolve(self._told)
        for site, (balance, pipeline) in self._agents.items():
            frontends = balance.frontends(pipeline, worlds[site.cluster], self._held[site])
            rules = pipeline.compile(frontends)
            self._decided[site] = {((it.namespace, it.name), it.port.number): (it, rules) for it in frontends}
        return self

    def again(self, worlds: Mapping[str, World], times: int = 2) -> Paper:
        """The same for a while: agents decide at least once a second."""
        for _ in range(times):
            self.step(worlds)
        return self

    def _tell(self, peer: str, event: Event) -> None:
        key = event.key if isinstance(event, Delete) else event.record.key
        for site, held in self._held.items():
            if site.cluster == peer:
                continue
            arrived = self._agents[site][1].feed(event, held[peer].get(key))
            if isinstance(arrived, Put):
                held[peer][key] = arrived.record
            elif isinstance(arrived, Delete):
                held[peer].pop(key, None)

    def pipeline(self) -> Pipeline:
        """That of the first node."""
        return next(pipeline for _, pipeline in self._agents.values())

    def shares(self, cluster: str, name: str = "echo", namespace: str = "shop", port: int = 80) -> tuple[Shares, ...]:
        """Who takes which part of that port's connections, for each node."""
        return tuple(
            _shares(*decided[(namespace, name), port])
            for site, decided in self._decided.items()
            if site.cluster == cluster
        )

    def uses(self, cluster: str, name: str = "echo", namespace: str = "shop", port: int = 80) -> tuple[str, ...]:
        """Who answers on that port, by the initial letters of the pods' clusters, for each node: "e", "ew", "" …"""
        letters = {f"10.{number}.": cluster[0] for cluster, number in IDS.items()}
        return tuple(
            "".join(sorted({letters[address[:5]] for address in shares}))
            for shares in self.shares(cluster, name, namespace, port)
        )

    def rules(self) -> Ruleset:
        """What is in force on the first node."""
        return next(rules for decided in self._decided.values() for _, rules in decided.values())


def _events(told: Mapping[Key, Record], records: Mapping[Key, Record]) -> list[Event]:
    puts: list[Event] = [Put(record) for key, record in records.items() if told.get(key) != record]
    return puts + [Delete(key) for key in told.keys() - records.keys()]


def _shares(frontend: Frontend, rules: Ruleset) -> Shares:
    """As the kernel would read the chain: each rule takes its part of what those before have left."""
    left, shares = Fraction(1), dict[str, Fraction]()
    for rule in rules.chains[target(frontend)]:
        if (to := re.search(r"dnat ip to ([\d.]+):", rule)) is None or rule.startswith("ip saddr @"):
            continue
        odds = re.search(r"numgen random mod (\d+) 0", rule)
        part = left / int(odds[1]) if odds else left
        shares[to[1]] = shares.get(to[1], Fraction(0)) + part
        left -= part
    return shares
