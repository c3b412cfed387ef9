"""Say how to install Cilium by hand in the clusters of a fleet: helm commands on stdout, values in files.

The fleet file is only read: its provider and mesh may be any, also what meshproof cannot bring up yet. Where your
clusters are reached is yours to say. The authority's key goes into files of mode 0600 and is never printed. With
--cluster, that cluster's values are printed and nothing is written.
Not yet run against live Cilium by us; its charts were (make fidelity).

example:
  meshproof values two --node east=10.0.0.4 --api east=10.0.0.4:6443 --node west=10.1.0.4 --api west=10.1.0.4:6443"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meshproof.cli.exits import Refused
from meshproof.cli.images import add_release_option, add_source_options

if TYPE_CHECKING:
    from meshproof.clusters.fleet import FleetSpec
    from meshproof.clusters.meshes.cilium.rendering import Plan
    from meshproof.clusters.meshes.cilium.values import Reach

NAME = "values"
HELP = "how to install Cilium by hand: helm values and commands"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("fleet", metavar="FLEET", help="a fleet file, or a built-in fleet: two, three, six, ...")
    own.add_argument(
        "--node", action="append", default=[], metavar="CLUSTER=IP", help="a node's address, for peers; may be repeated"
    )
    own.add_argument(
        "--api",
        action="append",
        default=[],
        metavar="CLUSTER=HOST:PORT",
        help="its API server, as its own nodes reach it",
    )
    own.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="CLUSTER=CONTEXT",
        help="its kubeconfig context (default: its name)",
    )
    own.add_argument("--cluster", metavar="CLUSTER", help="only print the values of this cluster")
    own.add_argument("--into", type=Path, metavar="DIR", help="where the files go (default: cilium-FLEET)")
    own.add_argument("--cilium-chart", type=Path, metavar="PATH", help="a chart on this machine: a directory or .tgz")
    add_release_option(own)
    add_source_options(own)
    own.add_argument("--by-tag", action="store_true", help="no digests, for nodes whose images came from a file")


def execute(options: argparse.Namespace) -> int:
    from meshproof.clusters.meshes.cilium import byhand, rendering
    from meshproof.clusters.meshes.cilium.values import cluster_values

    plan = _plan(options)
    if options.cluster:
        chosen = [cluster for cluster in plan.spec.clusters if cluster.name == options.cluster]
        if not chosen:
            names = ", ".join(cluster.name for cluster in plan.spec.clusters)
            raise Refused(f"fleet {plan.spec.name} has no cluster {options.cluster}; it has {names}")
        values = cluster_values(plan.spec, chosen[0], plan.reach, plan.chart.release, plan.images)
        print(rendering.spell(values), end="")
        return 0
    contexts = {cluster.name: cluster.name for cluster in plan.spec.clusters}
    contexts |= _members(plan.spec, options.context, "--context")
    files = rendering.write(plan, options.into or Path(f"cilium-{plan.spec.name}"))
    for line in byhand.script(plan, files, contexts):
        print(line)
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    from meshproof.clusters.fleetfile import load, resolve
    from meshproof.clusters.meshes.cilium import charts
    from meshproof.clusters.meshes.cilium.lock import lock
    from meshproof.clusters.meshes.cilium.placement import pairs, place
    from meshproof.clusters.meshes.cilium.rendering import Plan

    spec = load(resolve(options.fleet), to_print=True)
    if spec.lent:
        raise Refused("values need ids and networks, which a fleet file of existing clusters does not declare")
    chart = charts.find(lock(), options.cilium_chart, options.cilium)
    overrides = pairs(options.override, "--override")
    images = place(chart.release, mirror=options.mirror, overrides=overrides, by_tag=options.by_tag)
    return Plan(spec, _reach(spec, options.node, options.api), chart, images)


def _reach(spec: FleetSpec, nodes: Sequence[str], apis: Sequence[str]) -> dict[str, Reach]:
    from meshproof.clusters.meshes.cilium.values import Reach

    addresses: dict[str, list[str]] = {}
    for word in nodes:
        for name, address in _members(spec, [word], "--node").items():
            addresses.setdefault(name, []).append(address)
    servers = _members(spec, apis, "--api")
    names = [cluster.name for cluster in spec.clusters]
    missing = [f"--node {name}=IP" for name in names if name not in addresses]
    missing += [f"--api {name}=HOST:PORT" for name in names if name not in servers]
    if missing:
        raise Refused(f"where fleet {spec.name} is reached has to be said: {' '.join(missing)}")
    found = {}
    for name in names:
        host, _, port = servers[name].rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise Refused(f"--api {name}={servers[name]} has no HOST:PORT form")
        found[name] = Reach(tuple(addresses[name]), host, int(port))
    return found


def _members(spec: FleetSpec, words: Sequence[str], option: str) -> Mapping[str, str]:
    """CLUSTER=VALUE words by cluster. Raises Refused for a cluster the fleet does not have."""
    from meshproof.clusters.meshes.cilium.placement import pairs

    names = [cluster.name for cluster in spec.clusters]
    found = pairs(words, option)
    if unknown := sorted(set(found) - set(names)):
        raise Refused(f"{option} names {unknown[0]}; fleet {spec.name} has {', '.join(names)}")
    return found
