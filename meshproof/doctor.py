"""The doctor: every check of the machine as a table, or as JSON, each failing one with what to do about it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict

import meshproof
from meshproof.cli.exits import Exit
from meshproof.cli.output import print_json, print_table
from meshproof.clusters.embedded.preflight import Check, checks
from meshproof.clusters.fleetfile import load, resolve


def examine(fleet: str, *, as_json: bool) -> int:
    """Check this machine for a fleet (name or file) and print what was seen; 0, or 10 when a required check failed.

    Raises EnvironmentUnfit when the fleet file itself cannot be used.
    """
    spec = load(resolve(fleet))
    found = checks(spec)
    fit = all(check.ok for check in found if check.required)
    if as_json:
        print_json(
            {
                "meshproof": meshproof.__version__,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "fleet": spec.name,
                "fit": fit,
                "checks": [asdict(check) for check in found],
            }
        )
    else:
        _print(found, spec.name, fit=fit)
    return Exit.OK if fit else Exit.UNFIT


def _print(found: Sequence[Check], fleet: str, *, fit: bool) -> None:
    print(f"meshproof {meshproof.__version__}, Python {platform.python_version()}, {platform.machine()}")
    rows = [(check.name, _word(check), check.seen, check.fix) for check in found]
    print_table(("CHECK", "", "SEEN", "HOW TO FIX"), rows)
    print(f"fleet {fleet} can come up here" if fit else f"fleet {fleet} cannot come up here")


def _word(check: Check) -> str:
    return "ok" if check.ok else "FAIL" if check.required else "warn"
