"""How a person installs the mesh by hand: lines of a shell script, for files that `rendering.write` has written.

The clusters are somebody else's here, so nothing is assumed about them that the person did not say: contexts, node
addresses and API servers are given. The authority's key is in a file of mode 0600, and never in a line.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path

from meshproof.clusters.meshes.cilium import helm
from meshproof.clusters.meshes.cilium.addressing import native_network, node_port, strangers
from meshproof.clusters.meshes.cilium.rendering import Plan


def script(plan: Plan, files: Mapping[str, tuple[Path, Path]], contexts: Mapping[str, str]) -> Iterator[str]:
    """What to type, with what has to be true before; `contexts` has each cluster's kubeconfig context."""
    spec, network = plan.spec, native_network(plan.spec.clusters)
    yield f"# Cilium {plan.chart.release.version} for fleet {spec.name}: each cluster once, in any order."
    yield "# Not yet run against live Cilium by meshproof's authors; checked with the real charts (make fidelity)."
    yield f"# All nodes share one link, pods are routed over it. Within {network} no pod's address is masqueraded;"
    yield f"# besides pods it covers {_listed(strangers(network, spec.clusters))}: nothing may live there."
    yield f"# {next(iter(files.values()))[0]} holds the key of the mesh's authority (mode 0600): show it to nobody."
    if plan.chart.path is None:
        yield "# Once: helm repo add cilium ADDRESS, with the address that Cilium's documentation gives."
    for cluster in spec.clusters:
        own = plan.reach[cluster.name]
        yield ""
        yield f"# {cluster.name}: id {cluster.id}, pods {cluster.pod_cidr}, API server {own.api_host}:{own.api_port};"
        yield f"# peers reach it at {', '.join(own.nodes)}, port {node_port(cluster)}/tcp. No other CNI, no kube-proxy."
        yield shlex.join(helm.install_words("helm", plan.chart, files[cluster.name], contexts[cluster.name], None))
    yield ""
    yield "# A green status is no proof: let pods of each cluster reach pods of each other one, by their own addresses."


def _listed(networks: tuple[IPv4Network, ...]) -> str:
    return ", ".join(map(str, networks)) or "nothing else"
