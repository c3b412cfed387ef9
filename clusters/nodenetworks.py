"""Who says in a fleet file where nodes stand: each member of an embedded fleet, and the fleet itself with kind.

An embedded fleet routes between the node networks of its members. kind puts all nodes on one Docker network and gives
them addresses in the order in which they come up, so a member has no network of its own to name.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshproof.clusters.markedyaml import Marked, Problem


def problems(marked: Marked) -> Iterator[Problem]:
    """What is wrong about where `nodeCIDR` stands in a file about clusters that we make, each with its line."""
    data = marked.data
    if data["provider"] == "kind":
        yield from _shared(marked)
        return
    if "nodeCIDR" in data:
        yield marked.problem(
            ("nodeCIDR",), "nodeCIDR is the fleet's with provider kind only; give each cluster its own"
        )
    for i, member in enumerate(data["clusters"]):
        if "nodeCIDR" not in member:
            yield marked.problem(("clusters", i), f"clusters[{i}] ({member['name']}) has no nodeCIDR; add it")


def _shared(marked: Marked) -> Iterator[Problem]:
    if "nodeCIDR" not in marked.data:
        sentence = "the fleet has no nodeCIDR; with provider kind one network has the nodes of all members"
        yield marked.problem((), sentence)
    for i, member in enumerate(marked.data["clusters"]):
        if "nodeCIDR" in member:
            sentence = "with provider kind all nodes stand in the fleet's nodeCIDR; take this one away"
            yield marked.problem(("clusters", i, "nodeCIDR"), sentence)
