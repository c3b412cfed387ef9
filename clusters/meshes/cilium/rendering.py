"""From a fleet to what every one of its clusters would get: values, files, helm, objects. Asks no cluster.

The values files are what a person would give helm as well: one with the authority, which all clusters share and only
its owner may read, and one a cluster, without secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from meshproof.clusters.embedded.pki import write_secret
from meshproof.clusters.fleet import FleetSpec
from meshproof.clusters.meshes.cilium import authority, helm, rendered
from meshproof.clusters.meshes.cilium.agreement import Mesh
from meshproof.clusters.meshes.cilium.charts import Chart
from meshproof.clusters.meshes.cilium.placement import Placed, place
from meshproof.clusters.meshes.cilium.values import Reach, authority_values, cluster_values

Change = Callable[[str, dict[str, Any]], dict[str, Any]]
"""What a test does to the values of the named cluster before they are written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet, where it is reached, and the chart and images it gets."""

    spec: FleetSpec
    reach: Mapping[str, Reach]
    chart: Chart
    images: tuple[Placed, ...]


def plan(spec: FleetSpec, reach: Mapping[str, Reach], chart: Chart) -> Plan:
    """With every image as the lock has it."""
    return Plan(spec, reach, chart, place(chart.release))


def write(plan: Plan, directory: Path, change: Change = lambda _, values: values) -> dict[str, tuple[Path, Path]]:
    """Write the values below `directory`, made if need be: by cluster, the files to give helm, in this order.

    An authority that is there already is used again. Raises `EnvironmentUnfit` before anything is written when the
    fleet cannot be such a mesh.
    """
    values = {
        cluster.name: cluster_values(plan.spec, cluster, plan.reach, plan.chart.release, plan.images)
        for cluster in plan.spec.clusters
    }
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = authority.keep(directory / "authority", plan.spec.name)
    shared = directory / "authority.yaml"
    secret = authority_values(files.certificate.read_bytes(), files.key.read_bytes())
    write_secret(shared, spell(secret).encode())
    written = {}
    for name, own in values.items():
        file = directory / f"{name}.yaml"
        file.write_text(spell(change(name, own)), encoding="utf-8")
        written[name] = (shared, file)
    return written


def spell(values: Mapping[str, Any]) -> str:
    """Values as helm reads them."""
    return str(yaml.safe_dump(dict(values), sort_keys=False, width=120))


def render(tool: helm.Helm, plan: Plan, directory: Path, change: Change = lambda _, values: values) -> Mesh:
    """What helm makes of the fleet's values. Raises `CommandFailed` when it refuses them."""
    files = write(plan, directory, change)
    objects = {name: rendered.read(helm.template(tool, plan.chart, both)) for name, both in files.items()}
    nodes = {name: reach.nodes for name, reach in plan.reach.items()}
    return Mesh(plan.spec, nodes, plan.images, objects)
