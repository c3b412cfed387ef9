"""Remove what runs left in clusters, by label alone: after kill -9, from another machine, as often as you like.

Only namespaces that carry app.kubernetes.io/managed-by=meshproof and meshproof.dev/run go, with what is in them;
nothing else was ever made. A run may still be under way: without --run or --all, runs that made a namespace within the
last two hours (--older-than) are left alone and listed.

exit codes: 0 nothing is left of what was to go (not younger runs), 1 something is, 10 a cluster cannot be used
examples:
  meshproof cleanup --context east --context west --dry-run
  meshproof cleanup --fleet fleet.yaml --run 20261122043500-ab12
  meshproof cleanup --fleet two --all"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from meshproof.cli.output import add_output_option, print_json, print_table, tell
from meshproof.cli.target import add_target, target, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshproof.clusters.fleet import Cluster, FleetSpec
    from meshproof.fixtures.leftovers import Leftover

NAME = "cleanup"
HELP = "remove what runs left in clusters"
GONE_SECONDS_MAX = 120.0


def arguments(own: argparse.ArgumentParser) -> None:
    add_target(own)
    which = own.add_mutually_exclusive_group()
    which.add_argument("--run", action="append", default=[], metavar="ID", help="only this run, whatever its age")
    which.add_argument("--all", action="store_true", help="every run, also one that may be under way")
    which.add_argument(
        "--older-than", type=float, metavar="MINUTES", help="runs without a new namespace for so long (120)"
    )
    own.add_argument("--dry-run", action="store_true", help="only list what would go")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    from meshproof.fixtures.leftovers import OLDER_THAN_SECONDS, chosen, remove

    clusters = _clusters(target(options))
    minutes = options.older_than
    older = 0.0 if options.all else OLDER_THAN_SECONDS if minutes is None else 60 * minutes
    found = _looked(clusters)
    going, spared = chosen(found, options.run, older_than=older)
    problems = () if options.dry_run else remove(clusters, going, GONE_SECONDS_MAX)
    if options.output == "json":
        parts = {"would_remove" if options.dry_run else "removed": going, "spared": spared}
        print_json({name: [asdict(one) for one in its] for name, its in parts.items()} | {"problems": list(problems)})
    else:
        _tell(going, spared, typed(options), dry=options.dry_run)
    for problem in problems:
        tell(problem)
    if absent := [run for run in options.run if run not in {one.run for one in found}]:
        tell(f"nothing is left of {', '.join(absent)}")
    return 1 if problems else 0


def _clusters(spec: FleetSpec) -> Sequence[Cluster]:
    """The clusters as they can be talked to; what is in them does not matter here. Raises EnvironmentUnfit."""
    from meshproof.clusters.existing.provider import reach
    from meshproof.clusters.fleet import EnvironmentUnfit
    from meshproof.clusters.providers import provider_of

    if spec.lent:
        return reach(spec)
    fleet = provider_of(spec).find(spec)
    if fleet is None:
        raise EnvironmentUnfit(f"fleet {spec.name!r} is not up: what runs left in it went with it")
    return fleet.clusters


def _looked(clusters: Sequence[Cluster]) -> list[Leftover]:
    from meshproof.clusters.api import described
    from meshproof.clusters.fleet import EnvironmentUnfit
    from meshproof.fixtures.leftovers import leftovers

    try:
        return leftovers(clusters)
    except EnvironmentUnfit:
        raise
    except Exception as error:
        raise EnvironmentUnfit(f"what is left cannot be looked for: {described(error)}") from error


def _tell(going: Sequence[Leftover], spared: Sequence[Leftover], words: str, *, dry: bool) -> None:
    fates = [(one, "would go" if dry else "removed") for one in going] + [(one, "spared") for one in spared]
    if not fates:
        print("nothing is left of any run")
        return
    rows = [(one.run, one.cluster, one.namespace, f"{one.age_seconds / 60:.0f} min", fate) for one, fate in fates]
    print_table(("RUN", "CLUSTER", "NAMESPACE", "AGE", ""), rows)
    for run in dict.fromkeys(one.run for one in spared):
        print(f"run {run} may be under way; if it is not: meshproof cleanup {words} --run {run}")
