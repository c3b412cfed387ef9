"""The seams of the reference mesh, by name.

A component runs the functions of one `Pipeline` and nothing else decides anything; `Pipeline()` is
healthy. A defect is another pipeline, made by wrapping one or more of these functions. There is no
flag anywhere in the healthy code.

When they are called: `feed` at each event of a peer; `select`, `merge` and `choose` when one of their arguments has
changed; `forget` when a backend has; all others at every evaluation, which is at least once a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.conntrack import Allowed, udp_only
from meshproof.clusters.meshes.reference.feed import Feed, feed
from meshproof.clusters.meshes.reference.link import revoke
from meshproof.clusters.meshes.reference.merge import Backend, Frontend, Imported, Offer, choose, gather, merge
from meshproof.clusters.meshes.reference.naming import Exports, Names, resolve
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.ruleset import Ruleset, compile_rules
from meshproof.clusters.meshes.reference.selection import select
from meshproof.clusters.meshes.reference.status import Peers, status
from meshproof.clusters.meshes.reference.world import Endpoint, Service


@dataclass(frozen=True, slots=True)
class Site:
    """Where a component runs; the exporter is on no node."""

    cluster: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a component does between an event and its effect."""

    here: Site = Site()
    select: Callable[[Member, Service, tuple[Endpoint, ...], Mapping[str, str]], Record | None] = select
    """Exporter: the record to publish for one service, or None."""
    resolve: Callable[[Exports], Names] = resolve
    """Exporter: which names there are under svc.fleet, given what every cluster, the own one included, shares."""
    feed: Feed = feed
    """What becomes of one event of a peer, given the record held before it."""
    revoke: Callable[[float, float], bool] = revoke
    """Whether a peer that has been away for so many seconds loses its records, given the cache TTL."""
    gather: Callable[[Service, Imported], Mapping[str, Record]] = gather
    """Agent: which peers' records belong to one own service."""
    merge: Callable[
        [Service, tuple[Endpoint, ...], Mapping[str, str], Mapping[str, Record], str], tuple[Offer, ...]
    ] = merge
    """Agent: what there is for each of its ports, seen from this node."""
    choose: Callable[[Service, Offer], tuple[Backend, ...]] = choose
    """Agent: who of them gets new connections."""
    compile: Callable[[Iterable[Frontend]], Ruleset] = compile_rules
    """Agent: the rules for all of it."""
    forget: Callable[[Allowed], Allowed] = udp_only
    """Agent: of the dialled ports whose backends changed, those whose flows to anybody else must end now."""
    status: Callable[[Peers], Peers] = status
    """What it says of its peers."""
