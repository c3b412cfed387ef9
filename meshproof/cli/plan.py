"""Say what a run would do, before anything is touched: cases, objects in each cluster, images, permissions, duration.

Clusters somebody else made are looked at, as `meshproof doctor` does, to know their mesh; nothing is written to them.

exit codes: 0, 10 when the clusters cannot be used
examples:
  meshproof plan --context east --context west
  meshproof plan --fleet fleet.yaml --allow-disruption -o json"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from meshproof.cli.output import add_output_option, print_json, print_table
from meshproof.cli.target import add_target, target

if TYPE_CHECKING:
    from meshproof.clusters.fleet import Feature, FleetSpec
    from meshproof.plan import Plan

NAME = "plan"
HELP = "what a run would do, before anything is touched"


def arguments(own: argparse.ArgumentParser) -> None:
    add_target(own, default="two")
    own.add_argument("--at-once", type=int, default=12, metavar="N", help="cases at the same time (default: 12)")
    own.add_argument("--image", default="", metavar="IMAGE", help="of all pods")
    own.add_argument("--allow-disruption", action="store_true", help="with the cases that disturb somebody else's mesh")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    from meshproof.cli.run import BUILT
    from meshproof.clusters.existing.permissions import needed
    from meshproof.fixtures.patterns import IMAGE
    from meshproof.plan import plan

    spec, lacks = _known(target(options))
    made = plan(spec, lacks, BUILT, at_once=max(1, options.at_once))
    image = options.image or _brought(spec) or IMAGE
    lines = needed(spec.mesh, disruption=spec.disruption and not spec.managed) if spec.lent else ()
    names = [cluster.name for cluster in spec.clusters]
    if options.output == "json":
        print_json(
            {
                "fleet": {"name": spec.name, "provider": spec.provider, "mesh": spec.mesh, "profile": spec.profile},
                "clusters": {each.name: each.context for each in spec.clusters},
                "writes": spec.writes.value,
                "cases": [{**asdict(case), "makes": dict(case.makes)} for case in made.cases],
                "objects_per_cluster": {"shared": dict(made.shared), "of_cases": dict(made.makes(len(names)))},
                "images": [image],
                "permissions": [asdict(line) for line in lines],
                "seconds": round(made.seconds),
                "basis": made.basis,
            }
        )
        return 0
    _tell(spec, made, image)
    for number, line in enumerate(lines):
        print(f"{'may' if not number else '':<9}{line}{'' if line.required else ' (can do without)'}")
    print("nothing has been touched")
    return 0


def _known(spec: FleetSpec) -> tuple[FleetSpec, Mapping[Feature, str]]:
    """The spec with mesh and profile filled in, and what the mesh lacks. Raises EnvironmentUnfit."""
    if not spec.lent:
        return spec, {}
    from meshproof.clusters.existing.provider import found
    from meshproof.clusters.meshes.choice import mesh_of

    fleet = found(spec)
    return fleet.spec, mesh_of(fleet).lacks()


def _brought(spec: FleetSpec) -> str:
    """The image that a fleet of this provider brings for pods; empty where it brings none."""
    if spec.provider != "kind":
        return ""
    from meshproof.clusters.kind.images import TRAFFIC

    return TRAFFIC


def _tell(spec: FleetSpec, made: Plan, image: str) -> None:
    names = [cluster.name for cluster in spec.clusters]
    rows = [(case.requirement, str(case.runs), case.title) for case in made.running]
    print_table(("REQUIREMENT", "CASES", "PROMISE"), rows)
    for why, number in Counter(case.why_not for case in made.cases if case.why_not).items():
        ids = ", ".join(case.requirement for case in made.cases if case.why_not == why)
        print(f"left out {number}: {ids} ({why})")
    pinned = "" if "@" in image else " (a tag; pin it with --image NAME@sha256:DIGEST)"
    print(f"\nfleet    {spec.name} ({spec.provider}): {', '.join(names)}; mesh {spec.mesh}, profile {spec.profile}")
    print(f"cases    {sum(case.runs for case in made.running)}, about {made.seconds / 60:.1f} min ({made.basis})")
    print(f"image    {image}{pinned}")
    print(f"objects  in each cluster while it lasts: {_counted(made.shared)}")
    print(f"         and one after another, of single cases: {_counted(made.makes(len(names)))}")
    print("         all of them labelled, in namespaces mp-… of its own, which are removed at the end")
    print(f"writes   {spec.writes.value}")


def _counted(objects: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in objects.items()) or "none"
