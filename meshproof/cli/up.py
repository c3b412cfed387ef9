"""Bring a fleet up and keep it. Says how to use kubectl with it. A fleet that is up already stays as it is.

example:
  eval "$(meshproof up two)" && kubectl --context east get pods -A"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from meshproof.cli.exits import Refused
from meshproof.cli.output import tell

if TYPE_CHECKING:
    from meshproof.clusters.fleet import Fleet, FleetSpec

NAME = "up"
HELP = "bring a fleet up and keep it"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("fleet", metavar="FLEET", help="a fleet file, or a built-in fleet: two, three, six, ...")
    own.add_argument("--until", metavar="PHASE", default="", help="kind fleets: stop after this phase")
    own.add_argument(
        "--from", dest="begin", metavar="PHASE", default="", help="kind fleets: do this and later phases again"
    )


def execute(options: argparse.Namespace) -> int:
    from meshproof.clusters.fleetfile import load, resolve
    from meshproof.clusters.providers import provider_of

    spec = load(resolve(options.fleet))
    if spec.lent and not (options.until or options.begin):
        provider_of(spec).up(spec, tell)
        print(f"# fleet {spec.name} is somebody else's: there is nothing to bring up, and down takes nothing down")
        return 0
    # The provider says itself whether the fleet was up already.
    if options.until or options.begin:
        fleet = _in_phases(spec, options.begin, options.until)
    else:
        fleet = provider_of(spec).up(spec, tell)
    if options.until and provider_of(spec).find(spec) is None:
        print(f"# fleet {spec.name} is not whole; go on with: meshproof up {options.fleet} --from PHASE")
        return 0
    _explain(fleet)
    return 0


def _in_phases(spec: FleetSpec, first: str, last: str) -> Fleet:
    """Part of the way. Raises Refused for a fleet whose provider knows no phases."""
    from meshproof.clusters.kind.provider import KindProvider
    from meshproof.clusters.providers import provider_of

    provider = provider_of(spec)
    if not isinstance(provider, KindProvider):
        raise Refused(f"--until and --from are for kind fleets; fleet {spec.name!r} has provider {spec.provider}")
    return provider.up(spec, tell, first=first, last=last)


def _explain(fleet: Fleet) -> None:
    """Lines that a shell can eval: one export, and the rest as comments."""
    from meshproof.clusters.embedded.binaries import find_built

    found = find_built()
    kubectl = str(found.kubectl) if found else "kubectl"
    print(f"# fleet {fleet.spec.name} is up: {', '.join(cluster.name for cluster in fleet.clusters)}")
    print(f"export KUBECONFIG={shlex.quote(str(fleet.directory / 'kubeconfig' / 'all'))}")
    print(f"# {shlex.quote(kubectl)} --context {fleet.clusters[0].context} get pods -A")
    print(f"# meshproof down {fleet.spec.name}")
