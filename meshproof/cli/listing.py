"""List every requirement: its id, whether this suite tests it yet, and what it promises. Or every claim of the
documents, with the requirements it stands by, in each profile; with a finished run, also what came of it (the rule:
`standing` in report.schema.json). Or every defect that the reference mesh can be given, and what notices it.

examples:
  meshproof list --tested
  meshproof list --not-built               and the work that will bring them
  meshproof list --claims
  meshproof list --claims --run latest     how each claim came out of the latest run
  meshproof list --defects                 for `meshproof prove --defect NAME` and `meshproof run --defect NAME`
  meshproof list -o json"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshproof.cli.output import add_output_option, print_json, print_table

if TYPE_CHECKING:
    from meshproof.report.view import View

NAME = "list"
HELP = "every requirement or claim, and whether it is tested yet"

PROVIDER, MESH, CLUSTERS = "embedded", "reference", 3
"""The fleet that a listing without a run speaks of: no other one that is built offers more."""


def arguments(own: argparse.ArgumentParser) -> None:
    which = own.add_mutually_exclusive_group()
    which.add_argument("--tested", action="store_true", help="only requirements that are tested")
    which.add_argument("--not-built", action="store_true", help="only those that are not, and what they wait for")
    which.add_argument("--claims", action="store_true", help="the claims of the documents instead")
    which.add_argument("--defects", action="store_true", help="the defects of the reference mesh instead")
    own.add_argument("--run", metavar="RUN", help="with --claims: how they came out of this run (a folder, or latest)")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    from meshproof.cli.exits import Refused

    if options.run and not options.claims:
        raise Refused("--run goes with --claims; a run as a whole is printed by `meshproof report`")
    if options.claims:
        return _list_claims(options)
    if options.defects:
        return _list_defects(options)
    wanted = {"tested"} if options.tested else {"not built"} if options.not_built else {"tested", "not built"}
    chosen = [entry for entry in requirements() if entry["status"] in wanted]
    if options.output == "json":
        print_json({"requirements": chosen})
    elif options.not_built:
        rows = [(entry["id"], entry["title"], entry["work"]) for entry in chosen]
        print_table(("REQUIREMENT", "TITLE", "NEEDS"), rows)
    else:
        rows = [(entry["id"], entry["status"], entry["title"]) for entry in chosen]
        print_table(("REQUIREMENT", "STATUS", "TITLE"), rows)
    return 0


def requirements() -> list[dict[str, Any]]:
    """Each requirement as plain data, in the catalogue's order; `modules` test it, `work` is what it waits for."""
    from meshproof.fixtures.requirements import SUITES, cases_in, catalogue
    from meshproof.fixtures.support import work_for

    root = Path(__file__).parents[1]
    found: dict[str, list[str]] = {}
    for suite in SUITES:
        for id, modules in cases_in(root / suite).items():
            found.setdefault(id, []).extend(f"{suite}/{module}" for module in modules)
    return [
        {
            "id": one.id,
            "title": one.title,
            "area": one.area,
            "basis": one.basis,
            "status": "tested" if one.id in found else "not built",
            "modules": found.get(one.id, []),
            "work": "" if one.id in found else work_for(one.id) or "",
        }
        for one in catalogue().values()
    ]


def claims(seen: View | None) -> list[dict[str, Any]]:
    """Each claim as plain data: per profile what its requirements are, and with a run what came of it."""
    from meshproof.fixtures.claims import ledger
    from meshproof.fixtures.requirements import built_ids
    from meshproof.fixtures.support import reason_for
    from meshproof.report.claims import standings

    built, book = built_ids(), ledger()
    stood = {each.claim.id: each for each in standings(seen)} if seen else {}

    def status(id: str, profile: str) -> dict[str, str]:
        reason = reason_for(id, provider=PROVIDER, mesh=MESH, profile=profile, clusters=CLUSTERS)
        word = "not built" if id not in built else "unsupported" if reason else "tested"
        return {"status": word, "reason": reason or "" if id in built else ""}

    return [
        {
            "id": claim.id,
            "claim": claim.text,
            "documents": {letter: book.documents[letter] for letter in claim.documents},
            "requirements": list(claim.requirements),
            "beyond": list(book.missing(claim)),
            "profiles": {
                profile: {
                    "promised": claim.promised_by(profile),
                    "note": claim.notes.get(profile, ""),
                    "requirements": {id: status(id, profile) for id in claim.requirements},
                }
                for profile in book.profiles
            },
            **(
                {
                    "run": {
                        "profile": seen.run.profile,
                        "standing": stood[claim.id].standing.value,
                        "why": stood[claim.id].why,
                        "verdicts": {id: verdict.value for id, verdict in stood[claim.id].verdicts.items()},
                    }
                }
                if seen
                else {}
            ),
        }
        for claim in book.claims.values()
    ]


def _list_defects(options: argparse.Namespace) -> int:
    from meshproof.clusters.meshes.reference.defects import every

    if options.output == "json":
        fields = ("name", "models", "requirement", "expectation", "stays_green")
        print_json({"defects": [{field: getattr(defect, field) for field in fields} for defect in every()]})
    else:
        rows = [(defect.name, defect.requirement, defect.expectation, defect.models) for defect in every()]
        print_table(("DEFECT", "BREAKS", "AND THERE", "MODELLED ON"), rows)
    return 0


def _list_claims(options: argparse.Namespace) -> int:
    from meshproof.cli.naming import run_folder
    from meshproof.report import load
    from meshproof.report.view import view

    found = claims(view(load(run_folder(options.run))) if options.run else None)
    if options.output == "json":
        print_json({"claims": found})
    elif options.run:
        rows = [(each["id"], each["run"]["standing"], each["claim"], each["run"]["why"]) for each in found]
        print_table(("CLAIM", f"IN {found[0]['run']['profile']}", "WHAT IT SAYS", "WHY"), rows)
    else:
        profiles = tuple(found[0]["profiles"])
        rows = [
            (each["id"], "".join(each["documents"]), *(_tested(each, p) for p in profiles), each["claim"])
            for each in found
        ]
        print_table(("CLAIM", "DOC", *profiles, "WHAT IT SAYS"), rows)
        print("a number is how many of the claim's requirements are tested there; `meshproof describe C01` tells which")
    return 0


def _tested(claim: dict[str, Any], profile: str) -> str:
    reading = claim["profiles"][profile]
    statuses = [each["status"] for each in reading["requirements"].values()]
    return f"{statuses.count('tested')} of {len(statuses)}" if reading["promised"] else "no promise"
