"""Look, and say what a run would miss: on this machine for an embedded or a kind fleet, in the clusters for one that
somebody else made (identity, versions, permissions, what admission makes of a namespace of ours, nodes, mesh,
policies). Makes nothing, installs nothing, writes to no cluster (what a namespace would become is asked as a dry run).

exit codes: 0 when a fleet could come up or be used, 10 when not
examples:
  meshproof doctor three
  meshproof doctor kind-two
  meshproof doctor --context east --context west      clusters somebody else made, by their kubeconfig contexts
  meshproof doctor fleet.yaml -o json"""

from __future__ import annotations

import argparse

from meshproof.cli.output import add_output_option
from meshproof.cli.target import add_contexts, target

NAME = "doctor"
HELP = "can this machine, or these clusters, carry a run?"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("fleet", nargs="?", metavar="FLEET", help="fleet to check for (default: two)")
    add_contexts(own)
    own.set_defaults(default_fleet="two")
    own.add_argument(
        "--allow-disruption", action="store_true", help="ask also for what cases need that disturb somebody else's mesh"
    )
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    from meshproof import doctor

    spec = target(options)
    as_json = options.output == "json"
    return doctor.examine_lent(spec, as_json=as_json) if spec.lent else doctor.examine(spec, as_json=as_json)
