"""The seams of the reference mesh, by name.

A component runs the functions of one `Pipeline` and nothing else decides anything; `Pipeline()` is
healthy. A defect is another pipeline, made by wrapping one or more of these functions. There is no
flag anywhere in the healthy code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.feed import Feed, feed
from meshproof.clusters.meshes.reference.merge import Frontend, Imported, merge
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.ruleset import Ruleset, compile_rules
from meshproof.clusters.meshes.reference.selection import select
from meshproof.clusters.meshes.reference.status import Peers, status
from meshproof.clusters.meshes.reference.world import Endpoint, Service, World


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a component does between an event and its effect."""

    select: Callable[[Member, Service, tuple[Endpoint, ...], Mapping[str, str]], Record | None] = select
    """Exporter: the record to publish for one service, or None."""
    feed: Feed = feed
    """Agent: what becomes of one event of a peer, given the record held before it."""
    merge: Callable[[World, Imported], tuple[Frontend, ...]] = merge
    """Agent: what to balance."""
    compile: Callable[[Iterable[Frontend]], Ruleset] = compile_rules
    """Agent: the rules for it."""
    status: Callable[[Peers], Peers] = status
    """Agent: what it says of its peers."""
