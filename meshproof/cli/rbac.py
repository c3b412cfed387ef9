"""Print the roles that a run needs in clusters somebody else made, and nothing more, as manifests for kubectl.

They are made from the same table that `meshproof doctor` asks the API servers about. What Kubernetes cannot say: that
only namespaces of ours may be made, changed or removed, since their names are not known beforehand; so the ClusterRole
holds for all namespaces (exec into any pod among it), and what keeps meshproof to its own is meshproof.
Namespaces made beforehand are not enough: some cases are about namespaces, and make them.

examples:
  meshproof rbac --subject user:jane | kubectl --context east apply -f -
  meshproof rbac --subject serviceaccount:ci:meshproof --mesh cilium
  meshproof rbac -o json                       the same table as data, with a reason for each line"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from meshproof.cli.output import add_output_option, print_json
from meshproof.cli.target import MESHES

_HONEST = """\
# RBAC cannot hold the ClusterRole to namespaces of ours, whose names (mp-…) are not known beforehand: who has it may
# make objects in any namespace and enter any pod. meshproof does not; but bind it to an account of its own, for as long
# as it is needed."""

NAME = "rbac"
HELP = "the roles that a run needs in clusters somebody else made"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument(
        "--subject",
        default="group:meshproof",
        metavar="WHO",
        help="user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME (default: group:meshproof)",
    )
    own.add_argument("--mesh", default="", choices=MESHES, help="what this mesh needs (default: what any of them does)")
    own.add_argument("--allow-disruption", action="store_true", help="also what cases need that disturb the mesh")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    import yaml

    from meshproof.cli.exits import Refused
    from meshproof.clusters.existing.permissions import manifest, needed

    lines = needed(options.mesh, disruption=options.allow_disruption)
    try:
        made = manifest(lines, options.subject)
    except ValueError as error:
        raise Refused(f"--subject {error}") from error
    if options.output == "json":
        print_json({"permissions": [asdict(line) for line in lines], "manifests": made})
        return 0
    print("# What meshproof needs in each cluster, printed by `meshproof rbac`; apply it in every one of them.")
    for line in lines:
        print(f"#   {line}: {line.why}{'' if line.required else ' (a run can do without)'}")
    print(_HONEST)
    print(yaml.safe_dump_all(made, sort_keys=False), end="")
    return 0
