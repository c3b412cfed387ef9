"""List every requirement: its id, whether this suite tests it yet, and what it promises.

examples:
  meshproof list --tested
  meshproof list -o json"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from meshproof.cli.output import add_output_option, print_json, print_table

NAME = "list"
HELP = "every requirement, and whether it is tested yet"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("--tested", action="store_true", help="only those that are tested")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    chosen = [entry for entry in requirements() if not options.tested or entry["status"] == "tested"]
    if options.output == "json":
        print_json({"requirements": chosen})
    else:
        rows = [(entry["id"], entry["status"], entry["title"]) for entry in chosen]
        print_table(("REQUIREMENT", "STATUS", "TITLE"), rows)
    return 0


def requirements() -> list[dict[str, Any]]:
    """Each requirement as plain data, in the catalogue's order; `modules` are the test modules that test it."""
    from meshproof.fixtures.requirements import cases_in, catalogue

    found = cases_in(Path(__file__).parents[1] / "conformance")
    return [
        {
            "id": one.id,
            "title": one.title,
            "area": one.area,
            "basis": one.basis,
            "status": "tested" if one.id in found else "not built",
            "modules": list(found.get(one.id, ())),
        }
        for one in catalogue().values()
    ]
