"""The doctor: every check of a machine or of clusters as a table or as JSON, each failing one with what to do."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict

import meshproof
from meshproof.cli.exits import Exit
from meshproof.cli.output import print_json, print_table
from meshproof.clusters.embedded.preflight import Check, checks
from meshproof.clusters.existing.preflight import Check as LentCheck
from meshproof.clusters.fleet import FleetSpec


def examine(spec: FleetSpec, *, as_json: bool) -> int:
    """Check this machine for a fleet and print what was seen; 0, or 10 when a required check failed."""
    found = _checks(spec)
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


def examine_lent(spec: FleetSpec, *, as_json: bool) -> int:
    """Check clusters somebody else made, and print what was seen; 0, or 10 when a required check failed.

    Raises EnvironmentUnfit for a context that its kubeconfig does not have.
    """
    from meshproof.clusters.existing import preflight

    found = preflight.checks(spec)
    fit = all(check.ok for check in found if check.required)
    if as_json:
        told = [asdict(check) for check in found]
        print_json({"meshproof": meshproof.__version__, "fleet": spec.name, "fit": fit, "checks": told})
        return Exit.OK if fit else Exit.UNFIT
    print(f"meshproof {meshproof.__version__}, clusters somebody else made; nothing was written to them")
    rows = [(c.cluster, c.name, _word(c), f"{c.seen}{f'; {c.fix}' if c.fix else ''}") for c in found]
    print_table(("CLUSTER", "CHECK", "", "SEEN, AND WHAT TO DO"), rows)
    print("a run can stand on these clusters" if fit else "a run cannot stand on these clusters")
    return Exit.OK if fit else Exit.UNFIT


def _checks(spec: FleetSpec) -> list[Check]:
    """Those of the fleet's provider."""
    if spec.provider == "kind":
        from meshproof.clusters.kind import preflight

        return preflight.checks(spec)
    return checks(spec)


def _print(found: Sequence[Check], fleet: str, *, fit: bool) -> None:
    print(f"meshproof {meshproof.__version__}, Python {platform.python_version()}, {platform.machine()}")
    rows = [(check.name, _word(check), check.seen, check.fix) for check in found]
    print_table(("CHECK", "", "SEEN", "HOW TO FIX"), rows)
    print(f"fleet {fleet} can come up here" if fit else f"fleet {fleet} cannot come up here")


def _word(check: Check | LentCheck) -> str:
    return "ok" if check.ok else "FAIL" if check.required else "warn"
