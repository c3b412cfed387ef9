"""Which fleet a verb is about: a built-in one, a fleet file, or the contexts of clusters somebody else made."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshproof.clusters.fleet import FleetSpec

MESHES = ("reference", "cilium", "aks-fleet")
PROFILES = ("cilium", "aks-fleet", "news")


def add_target(own: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """--fleet, or --context twice and what goes with it."""
    its = f" (default: {default})" if default else ""
    own.add_argument("--fleet", metavar="FLEET", help=f"a fleet file or a built-in fleet{its}")
    add_contexts(own)
    own.set_defaults(default_fleet=default)


def add_contexts(own: argparse.ArgumentParser) -> None:
    """--context and what goes with it."""
    own.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="CONTEXT",
        help="twice or more, instead of a fleet: clusters somebody else made, by their kubeconfig contexts",
    )
    own.add_argument("--kubeconfig", default="", metavar="FILE", help="of --context (default: as kubectl finds it)")
    for name, choices in (("mesh", MESHES), ("profile", PROFILES)):
        own.add_argument(f"--{name}", default="", choices=choices, help="of --context (default: guessed)")


def target(options: argparse.Namespace) -> FleetSpec:
    """The fleet meant. Raises Refused for words that do not go together, EnvironmentUnfit for a file that is wrong."""
    from meshproof.cli.exits import Refused
    from meshproof.clusters.existing.kubeconfigs import fleet_file
    from meshproof.clusters.fleetfile import load, resolve

    if options.context:
        if options.fleet:
            raise Refused("name a fleet or give --context, not both")
        given = {"kubeconfig": options.kubeconfig, "mesh": options.mesh, "profile": options.profile}
        spec = load(fleet_file(options.context, **given))
    else:
        for word in ("kubeconfig", "mesh", "profile"):
            if getattr(options, word):
                raise Refused(f"--{word} goes with --context; a fleet file says it itself")
        name = options.fleet or options.default_fleet
        if not name:
            raise Refused("say which clusters: --context A --context B, or --fleet FILE")
        spec = load(resolve(name))
    return replace(spec, disruption=getattr(options, "allow_disruption", False))


def words(options: argparse.Namespace) -> list[str]:
    """What a person typed to say which fleet."""
    if not options.context:
        return ["--fleet", options.fleet or options.default_fleet]
    given = [word for context in options.context for word in ("--context", context)]
    for name in ("kubeconfig", "mesh", "profile"):
        given += [f"--{name}", getattr(options, name)] if getattr(options, name) else []
    return given


def typed(options: argparse.Namespace) -> str:
    """The same, quoted for a shell."""
    return shlex.join(words(options))
