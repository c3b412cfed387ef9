"""Tell what a requirement promises, why it is believed to be a promise, and how to run it.

example:
  meshproof describe DISC-04"""

from __future__ import annotations

import argparse

from meshproof.cli.output import add_output_option, print_json

NAME = "describe"
HELP = "what a requirement promises"

_BASIS = {
    "documented": "a document of the product promises it",
    "upstream": "an upstream test asserts it",
    "regression": "a real bug once broke it",
    "proposed": "proposed by this suite",
}


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("id", metavar="ID", help="such as DISC-04; `meshproof list` has them all")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    import difflib

    from meshproof.cli.listing import requirements
    from meshproof.clusters.fleet import EnvironmentUnfit

    known = {entry["id"]: entry for entry in requirements()}
    entry = known.get(options.id.upper())
    if entry is None:
        near = difflib.get_close_matches(options.id.upper(), known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `meshproof list`"
        raise EnvironmentUnfit(f"there is no requirement {options.id!r}; {hint}")
    if options.output == "json":
        print_json(entry)
        return 0
    print(f"{entry['id']}  {entry['title']}")
    print(f"  area    {entry['area']}")
    print(f"  basis   {entry['basis']}: {_BASIS.get(entry['basis'], 'see the catalogue')}")
    tested = ", ".join(f"conformance/{module}" for module in entry["modules"])
    print(f"  status  {entry['status']}{f' ({tested})' if tested else ''}")
    if tested:
        print(f"  run     meshproof run conformance --fleet two -k {entry['id']}")
    return 0
