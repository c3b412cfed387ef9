"""Our Cilium values, checked with the real charts: `make fidelity CHARTS=DIR`.

DIR holds cilium-VERSION.tgz (or unpacked directories of that name) for every release of the lock. For each release and
profile: every key of ours is one the chart knows, helm renders fleets of two and three, the rendered clusters agree
with one another and with the lock, and the API servers of a running embedded fleet take every object, strictly, and
keep what was meant. What it cannot show: that an image runs, or that traffic flows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from meshproof.clusters.embedded import binaries
from meshproof.clusters.embedded.provider import EmbeddedProvider
from meshproof.clusters.fleet import EnvironmentUnfit, Fleet, FleetSpec, Progress
from meshproof.clusters.fleetfile import load, resolve
from meshproof.clusters.meshes.cilium import applying, charts, helm, lock, rendered, rendering, strict
from meshproof.clusters.meshes.cilium.agreement import CHECKS, Mesh, disagreements
from meshproof.clusters.meshes.cilium.charts import Chart
from meshproof.clusters.meshes.cilium.commands import CommandFailed
from meshproof.clusters.meshes.cilium.rendered import Rendered
from meshproof.clusters.meshes.cilium.values import FLEET_LIKE_SINCE, Reach, cluster_values

FLEETS = ("two", "three")
PROFILES = ("cilium", "aks-fleet")
APPLIED = "two"
_NO_CHARTS = "skipped: no charts given; make fidelity CHARTS=DIR, a directory of cilium-VERSION.tgz files"


def charts_in(directory: Path) -> list[Chart]:
    """The chart of every release of the lock. Raises `EnvironmentUnfit` for one that is not there."""
    known = lock.lock()
    found = []
    for release in known.releases:
        places = (directory / f"cilium-{release.version}.tgz", directory / f"cilium-{release.version}")
        path = next((place for place in places if place.exists()), None)
        if path is None:
            raise EnvironmentUnfit(f"{directory} has no chart of Cilium {release.version}: {places[0].name} is missing")
        found.append(charts.find(known, path, release.version))
    return found


def on_paper(spec: FleetSpec) -> dict[str, Reach]:
    """Where the clusters of an embedded fleet would be reached if their nodes were machines."""
    networks = {cluster.name: IPv4Network(cluster.node_cidr) for cluster in spec.clusters}
    return {name: Reach((str(network[101]),), str(network[1]), 6443) for name, network in networks.items()}


def profiles_of(chart: Chart) -> tuple[str, ...]:
    """The profiles this release can have."""
    return PROFILES if chart.release.line >= FLEET_LIKE_SINCE else PROFILES[:1]


def plan_for(fleet: str, profile: str, chart: Chart) -> rendering.Plan:
    """A built-in fleet with this profile and chart."""
    spec = replace(load(resolve(fleet)), profile=profile)
    return rendering.plan(spec, on_paper(spec), chart)


def key_faults(chart: Chart, files: Sequence[Path]) -> list[str]:
    """What this chart would refuse or silently ignore in values files."""
    schema, defaults = json.loads(chart.read("values.schema.json")), rendered.document(chart.read("values.yaml"))
    return [
        f"{file.name}: {fault}"
        for file in files
        for fault in strict.faults(rendered.document(file.read_text(encoding="utf-8")), schema, defaults)
    ]


def examine(tool: helm.Helm, chart: Chart, work: Path) -> Iterator[tuple[str, list[str]]]:
    """(what was looked at, what is amiss) for one release, without any cluster."""
    for profile in PROFILES:
        if profile not in profiles_of(chart):
            yield f"{chart.release.version} {profile}: refused, as it cannot be had", _taken(chart, profile)
            continue
        for fleet in FLEETS:
            plan = plan_for(fleet, profile, chart)
            place = work / chart.release.version / profile / fleet
            files = sorted({file for both in rendering.write(plan, place).values() for file in both})
            about = f"{chart.release.version} {profile}, {len(plan.spec.clusters)} clusters"
            yield f"{about}: every key is one of the chart's", key_faults(chart, files)
            try:
                mesh = rendering.render(tool, plan, place)
            except CommandFailed as refused:
                yield f"{about}: helm renders it", [str(refused)]
                continue
            yield f"{about}: {_counts(mesh)} objects agree on {', '.join(CHECKS)}", disagreements(mesh)


def _counts(mesh: Mesh) -> str:
    return "+".join(str(len(objects.objects)) for objects in mesh.rendered.values())


def _taken(chart: Chart, profile: str) -> list[str]:
    plan = plan_for(APPLIED, profile, chart)
    try:
        cluster_values(plan.spec, plan.spec.clusters[0], plan.reach, chart.release)
    except EnvironmentUnfit:
        return []
    return ["values were made for it"]


def examine_applied(tool: helm.Helm, chart: Chart, fleet: Fleet, work: Path) -> Iterator[tuple[str, list[str]]]:
    """The same for real API servers: each takes every object of its cluster, and what they keep still agrees."""
    kubectl = binaries.find(_tell).kubectl
    for profile in profiles_of(chart):
        mesh = rendering.render(tool, plan_for(APPLIED, profile, chart), work / "applied" / profile)
        kept: dict[str, Rendered] = {}
        names = ", ".join(cluster.name for cluster in fleet.clusters)
        text = f"{chart.release.version} {profile}, applied to {names}"
        try:
            for cluster in fleet.clusters:
                kept[cluster.name] = applying.apply(kubectl, cluster, mesh.rendered[cluster.name].objects)
            live = replace(mesh, rendered=kept)
            yield f"{text}: {_counts(live)} objects accepted, kept and still agreeing", disagreements(live)
            yield f"{text}: a misspelt field is refused", _takes_anything(kubectl, fleet, mesh)
        except CommandFailed as refused:
            yield text, [str(refused)]
        finally:
            for cluster in fleet.clusters:
                applying.remove(kubectl, cluster, mesh.rendered[cluster.name].objects)


def _takes_anything(kubectl: Path, fleet: Fleet, mesh: Mesh) -> list[str]:
    """The control of the above: an object with one letter wrong has to be refused."""
    cluster = fleet.clusters[0]
    service = json.loads(json.dumps(mesh.rendered[cluster.name].find("Service", "clustermesh-apiserver")))
    service["spec"]["externalTraficPolicy"] = "Local"
    try:
        applying.apply(kubectl, cluster, [service])
    except CommandFailed as refused:
        return [] if "externalTraficPolicy" in str(refused) else [f"it was refused for another reason: {refused}"]
    return ["an object with the field externalTraficPolicy was accepted, so acceptance says nothing"]


@contextmanager
def _fleet_up(name: str, progress: Progress) -> Iterator[Fleet]:
    """The fleet, brought up for this if need be, and then gone afterwards."""
    spec, provider = load(resolve(name)), EmbeddedProvider()
    before = provider.find(spec)
    try:
        yield before or provider.up(spec, progress)
    finally:
        if before is None:
            provider.down(spec.name, progress)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is well or there are no charts, 1 when something is amiss, 10 when it cannot be checked here."""
    parser = argparse.ArgumentParser(prog="python -m meshproof.fidelity", description=__doc__)
    parser.add_argument("charts", nargs="?", type=Path, metavar="DIR", help="a directory of cilium-VERSION.tgz files")
    parser.add_argument("--paper", action="store_true", help="leave the API servers out: no fleet, no root")
    options = parser.parse_args(arguments)
    if options.charts is None:
        print(_NO_CHARTS)
        return 0
    try:
        return 1 if _report(_everything(options.charts, paper=options.paper)) else 0
    except (EnvironmentUnfit, CommandFailed) as unfit:
        print(unfit, file=sys.stderr)
        return 10


def _everything(directory: Path, *, paper: bool) -> Iterator[tuple[str, list[str]]]:
    found, tool = charts_in(directory), helm.find(_tell)
    print(
        f"helm {tool.release} ({tool.origin}); Kubernetes {helm.KUBERNETES}; charts of {lock.LOCK.name}, default"
        f" {lock.lock().default.version}"
    )
    with tempfile.TemporaryDirectory(prefix="meshproof-fidelity-") as work:
        for chart in found:
            yield from examine(tool, chart, Path(work))
        if not paper:
            with _fleet_up(APPLIED, _tell) as fleet:
                for chart in found:
                    yield from examine_applied(tool, chart, fleet, Path(work) / chart.release.version)


def _report(results: Iterator[tuple[str, list[str]]]) -> int:
    """Print each result as it comes; how many are amiss."""
    red = total = 0
    for text, faults in results:
        total, red = total + 1, red + bool(faults)
        print(
            "\n".join([f"{'AMISS' if faults else 'ok   '} {text}", *(f"      {fault}" for fault in faults)]), flush=True
        )
    print(f"{'AMISS' if red else 'ok'}: {total - red} of {total}")
    return red


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
