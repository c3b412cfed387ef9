"""Values that make no mesh: what is changed, and the check that has to notice it, with the real charts or on paper."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded import pki
from meshproof.clusters.meshes.cilium.values import authority_values

Values = dict[str, Any]
Change = Callable[[str, Values], Values]


def put(place: str, value: object, *clusters: str) -> Change:
    """Set one value in these clusters, east alone when none is named."""

    def change(name: str, values: Values) -> Values:
        if name not in (clusters or ("east",)):
            return values
        changed = copy.deepcopy(values)
        *above, last = place.split("/")
        inner = changed
        for step in above:
            inner = inner.setdefault(step, {})
        inner[last] = value
        return changed

    return change


def rename(place: str, new: str) -> Change:
    """Misspell a key of east's."""

    def change(name: str, values: Values) -> Values:
        if name != "east":
            return values
        changed = copy.deepcopy(values)
        *above, last = place.split("/")
        inner = changed
        for step in above:
            inner = inner[step]
        inner[new] = inner.pop(last)
        return changed

    return change


def other_authority(days: int) -> Values:
    """The values of an authority nobody else has, valid for so long."""
    with tempfile.TemporaryDirectory() as work:
        made = pki.new_authority(Path(work) / "ca", "somebody else's", timedelta(days=days))
        return dict(authority_values(made.ca.read_bytes(), made.ca.with_name("ca.key").read_bytes())["tls"])


BOTH = ("east", "west")
PEERS = "clustermesh/config/clusters"
NORTH = {"ips": ["10.9.9.9"], "port": 32399}

WRONG: dict[str, tuple[Change, str, str]] = {
    # what is wrong: (the change, the check, words of the sentence it yields)
    "another name": (put("cluster/name", "ost"), "identity", "east says it is ost with id 1"),
    "the id of a peer": (put("cluster/id", 2), "identity", "east says it is east with id 2; the fleet says id 1"),
    "a flag in one cluster alone": (
        *(put("clustermesh/maxConnectedClusters", 511), "configuration"),
        "max-connected-clusters is 511 in east and 255 in west",
    ),
    "kube-proxy kept": (put("kubeProxyReplacement", "false", *BOTH), "network", "kube-proxy-replacement is false"),
    "pods from a pool of their own": (put("ipam/mode", "cluster-pool", *BOTH), "network", "ipam is cluster-pool"),
    "a routing network of one's own pods": (
        *(put("ipv4NativeRoutingCIDR", "10.141.0.0/16"), "network"),
        "east hides its pods from west's: 10.141.0.0/16 lacks 10.142.0.0/16",
    ),
    "a routing network with nodes in it": (
        *(put("ipv4NativeRoutingCIDR", "10.0.0.0/8", *BOTH), "network"),
        "east shows its pods to west's node network",
    ),
    "namespaces local by default": (
        *(put("clustermesh/defaultGlobalNamespace", False, *BOTH), "namespaces"),
        "namespaces of west are global by default: false; cilium means true",
    ),
    "one node port for two": (
        *(put("clustermesh/apiserver/service/nodePort", 32381), "node ports"),
        "west and east both serve their peers on node port 32381",
    ),
    "no node port": (
        *(put("clustermesh/apiserver/service/type", "ClusterIP"), "node ports"),
        "east has no node port for its peers",
    ),
    "nobody to talk to": (put(PEERS, {}), "peers", "secret cilium-kvstoremesh of east knows nobody"),
    "a stranger as a peer": (put(f"{PEERS}/north", NORTH), "users", "east lets in remote-north, remote-west"),
    "a peer's wrong address": (put(f"{PEERS}/west/ips", ["10.102.0.9"]), "peers", "east takes 10.102.0.9 for west"),
    "a peer's wrong port": (
        put(f"{PEERS}/west/port", 2379),
        "peers",
        "east dials west at https://west.mesh.cilium.io:2379",
    ),
    "a misspelt port of a peer": (rename(f"{PEERS}/west/port", "prot"), "peers", "east dials west at https://west"),
    "no authority of ours": (
        put("tls/ca", {"cert": "", "key": ""}, *BOTH),
        "trust",
        "west has another certificate authority",
    ),
    "an authority of its own": (put("tls", other_authority(5000)), "trust", "west has another certificate authority"),
    "an authority that dies first": (put("tls", other_authority(7)), "trust", "longer than its authority"),
    "another image": (
        put("image/override", "registry.example/c:1"),
        "images",
        "registry.example/c:1, which is not in the lock",
    ),
}
