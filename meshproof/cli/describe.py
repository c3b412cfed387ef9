"""Tell what a requirement promises: its source, how it is seen, the bounds of each profile, what its case expects,
which defects prove that the case can fail, the claims it serves, where it is not offered, how to run it. Or a claim.

examples:
  meshproof describe DISC-04     (disc-4 will do)
  meshproof describe C10"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from meshproof.cli.output import add_output_option, print_json, print_labelled

NAME = "describe"
HELP = "what a requirement or a claim says"

_BASIS = {
    "documented": "a document of the product promises it",
    "upstream": "an upstream test asserts it",
    "regression": "a real bug once broke it",
    "proposed": "proposed by this suite",
}


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("id", metavar="ID", help="such as DISC-04 or C10; `meshproof list` has them all")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    from meshproof.cli.naming import promise
    from meshproof.fixtures.claims import ledger
    from meshproof.fixtures.requirements import catalogue

    id = promise(options.id, [*catalogue(), *ledger().claims], "requirement or claim")
    of_claim = id in ledger().claims
    content = claim(id) if of_claim else requirement(id)
    if options.output == "json":
        print_json(content)
        return 0
    print(f"{id}  {content['claim' if of_claim else 'title']}")
    print_labelled(_claim_lines(content) if of_claim else _requirement_lines(content))
    return 0


def requirement(id: str) -> dict[str, Any]:
    """Everything known of a requirement, as plain data; its first keys are those of `meshproof list`."""
    from meshproof.cli.casebook import cases_of
    from meshproof.cli.listing import requirements
    from meshproof.fixtures.claims import ledger
    from meshproof.fixtures.requirements import catalogue
    from meshproof.fixtures.support import support

    one = catalogue()[id]
    entry = next(each for each in requirements() if each["id"] == id)
    entries = [each for each in support().unsupported if id in each.requirements]
    return {
        **entry,
        "source": one.source,
        "observed": one.observed,
        "bounds": {key: _bounds(key) for key in one.bounds},
        "cases": [
            {
                "at": f"{case.module}:{case.line}",
                "truth": case.truth,
                "expectations": [{"name": each.name, "role": each.role} for each in case.expectations],
            }
            for case in cases_of(id)
        ],
        "defects": list(_defects(id)),
        "claims": [{"id": each.id, "claim": each.text} for each in ledger().of(id)],
        "unsupported": [{"where": str(each.where), "reason": each.reason} for each in entries],
        "run": f"meshproof run --fleet {_fleet(id)} -k {id}" if entry["status"] == "tested" else "",
    }


def claim(id: str) -> dict[str, Any]:
    """Everything known of a claim, as plain data."""
    from meshproof.cli.listing import claims

    return next(each for each in claims(None) if each["id"] == id)


def _requirement_lines(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "area", content["area"]
    yield "basis", f"{content['basis']}: {_BASIS.get(content['basis'], 'see the catalogue')}"
    yield "source", content["source"]
    yield "observed", content["observed"]
    for key, bounds in content["bounds"].items():
        yield "bound", f"{key}: {_bound(bounds)}"
    yield "status", content["status"] + (f": it needs {content['work']}" if content["work"] else "")
    for case in content["cases"]:
        yield "case", f"{case['at']}  {case['truth']}"
        for each in case["expectations"]:
            yield f"  {each['role']}", each["name"]
    for defect in content["defects"]:
        yield "defect", f"{defect['name']} must fail '{defect['expectation']}'; models {defect['models']}"
    for each in content["claims"]:
        yield "claim", f"{each['id']}  {each['claim']}"
    for entry in content["unsupported"]:
        yield "not for", f"{entry['where']}: {entry['reason']}"
    if content["run"]:
        yield "run", content["run"]
    for name in [defect["name"] for defect in content["defects"]][:1]:
        yield "prove", f"meshproof prove --defect {name}"


def _claim_lines(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from meshproof.report.claims import spans

    for letter, document in content["documents"].items():
        yield "document", f"{letter}: {document}"
    for profile, reading in content["profiles"].items():
        words = [] if reading["promised"] else ["not promised there"]
        words += [reading["note"]] if reading["note"] else []
        for status in ("unsupported", "not built"):
            chosen = [id for id, each in reading["requirements"].items() if each["status"] == status]
            words += [f"{spans(chosen)} {status}"] if chosen else []
        tested = sum(each["status"] == "tested" for each in reading["requirements"].values())
        yield (
            "profile",
            f"{profile}: {tested} of {len(reading['requirements'])} tested" + "".join(f"; {w}" for w in words),
        )
    yield "tested by", spans(content["requirements"])
    for what in content["beyond"]:
        yield "besides", f"{what} (not built)"


def _bound(bounds: list[dict[str, Any]]) -> str:
    """One bound in all profiles; on a mesh that has its own, once for those that agree."""
    where: dict[str, list[str]] = {}
    for each in bounds:
        place = f"mesh {each['mesh']}" if each["mesh"] else each["profile"]
        places = where.setdefault(f"{each['value']:g} ({each['basis']})", [])
        if place not in places:
            places.append(place)
    told = "; ".join(f"{value} in {', '.join(places)}" for value, places in where.items())
    return told or "no profile has it yet"


def _bounds(key: str) -> list[dict[str, Any]]:
    """The bound in each profile, and on each mesh that has its own there."""
    from meshproof.fixtures.profiles import load_profile, profile_names

    found = []
    for profile in map(load_profile, profile_names()):
        for mesh in ("", *profile.meshes):
            ground = profile.grounds.get(f"{mesh}/{key}" if mesh else key)
            if ground:
                value = getattr(profile.meshes[mesh] if mesh else profile.bounds, key)
                entry = {"profile": profile.name, "mesh": mesh, "value": value}
                found.append({**entry, "basis": ground.basis.value, "source": ground.source})
    return found


def _defects(id: str) -> Iterator[dict[str, str]]:
    from meshproof.clusters.meshes.reference.defects import every

    for defect in every():
        if defect.requirement == id:
            yield {"name": defect.name, "models": defect.models, "expectation": defect.expectation}


def _fleet(id: str) -> str:
    """The first built-in fleet that offers a requirement."""
    from meshproof.clusters.fleet import EnvironmentUnfit
    from meshproof.clusters.fleetfile import built_in, load, resolve
    from meshproof.fixtures.support import reason_for

    for name in dict.fromkeys(("two", "three", *built_in())):
        try:
            spec = load(resolve(name))
        except EnvironmentUnfit:  # a fleet of what this release does not have
            continue
        facts = {"provider": spec.provider, "mesh": spec.mesh, "profile": spec.profile}
        if reason_for(id, **facts, clusters=len(spec.clusters)) is None:
            return name
    return "two"
