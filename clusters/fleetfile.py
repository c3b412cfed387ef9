"""A fleet file: read, checked whole, and turned into a `FleetSpec`.

`fleetfile.schema.json` beside this module is the published shape; what spans keys
(overlaps, duplicates, sizes) is checked here. Every problem is one sentence that starts
with file:line. Values that are planned but not built are refused, never ignored.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from meshproof.clusters import networks, nodenetworks
from meshproof.clusters.fleet import ClusterSpec, EnvironmentUnfit, FleetSpec
from meshproof.clusters.markedyaml import Marked, Problem, Route, UnreadableError, read, spell

FLEETS = Path(__file__).with_name("fleets")
SHOWN_MAX = 3
"""Problems in one message: enough to fix a file in one go, few enough to read."""

_SCHEMA = Path(__file__).with_name("fleetfile.schema.json")
_NOT_BUILT: Mapping[str, tuple[str, ...]] = {
    "mesh": ("cilium", "aks-fleet"),
    "profile": ("aks-fleet",),
}
_NOT_BUILT_EXISTING: Mapping[str, tuple[str, ...]] = {"mesh": ("none",)}
_FOUND_OUT = ("id", "workers", "nodeCIDR", "podCIDR", "serviceCIDR")
"""What nobody declares of a cluster that is there already."""
_RESERVED_NAMES = {
    "default": "Cilium keeps it for a cluster without a mesh",
    "all": "the kubeconfig of all members has it",
}


class FleetFileError(EnvironmentUnfit):
    """A fleet file that cannot be used: one line a problem, each file:line: sentence; `problems` has them all."""

    def __init__(self, path: Path, problems: Collection[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        lines = [_placed(path, p) for p in self.problems[:SHOWN_MAX]]
        if len(self.problems) > SHOWN_MAX:
            more = len(self.problems) - SHOWN_MAX
            lines.append(f"{path}: and {more} more problem{'s' if more > 1 else ''}")
        super().__init__("\n".join(lines))


def resolve(name_or_path: str) -> Path:
    """The fleet file that a person means: a built-in fleet by its bare name, anything else as a path.

    Raises `EnvironmentUnfit` when it is neither.
    """
    if name_or_path in built_in():
        return FLEETS / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    looks_like_path = path.suffix in {".yaml", ".yml"} or path.name != name_or_path
    if looks_like_path or os.path.exists(name_or_path):  # a name that no file system takes is just not there
        return path
    near = difflib.get_close_matches(name_or_path, built_in(), n=1)
    hint = f", did you mean {near[0]}?" if near else ":"
    known = f"give a fleet file, or one of the built-in fleets {', '.join(built_in())}"
    raise EnvironmentUnfit(f"there is no fleet {name_or_path!r}{hint} {known}")


def built_in() -> tuple[str, ...]:
    """The names of the fleets that come with meshproof, smallest first."""
    return tuple(p.stem for p in sorted(FLEETS.glob("*.yaml"), key=lambda p: (p.stat().st_size, p.stem)))


def load(path: Path, *, to_print: bool = False) -> FleetSpec:
    """The checked content of a fleet file. Raises `FleetFileError` with the first few problems, and nothing else.

    `to_print` accepts what is planned and not built as well: for saying how it is done by hand, never for doing it.
    """
    try:
        marked = read(path)
    except UnreadableError as error:
        raise FleetFileError(path, error.problems) from None
    for check in (_shape, _rules if to_print else _usable, networks.meetings):
        # Each check relies on what the one before it made sure of.
        if problems := set(check(marked)):
            raise FleetFileError(path, problems)
    data = marked.data
    if data["provider"] == "existing":
        clusters = tuple(_existing(member, path) for member in data["clusters"])
    else:
        clusters = tuple(
            ClusterSpec(
                name=member["name"],
                id=member["id"],
                workers=member["workers"],
                node_cidr=member.get("nodeCIDR", data.get("nodeCIDR")),
                pod_cidr=member["podCIDR"],
                service_cidr=member.get("serviceCIDR", data.get("serviceCIDR")),
            )
            for member in data["clusters"]
        )
    mesh, profile = data.get("mesh", ""), data.get("profile", "")
    return FleetSpec(data["name"], data["provider"], mesh, profile, clusters, path.absolute())


def _existing(member: Mapping[str, str], path: Path) -> ClusterSpec:
    """A kubeconfig lies where the fleet file says, seen from that file."""
    given = member.get("kubeconfig", "")
    kubeconfig = str(path.absolute().parent / Path(given).expanduser()) if given else ""
    return ClusterSpec(name=member["name"], context=member["context"], kubeconfig=kubeconfig)


def _placed(path: Path, problem: Problem) -> str:
    return f"{path}:{problem.line}: {problem.sentence}" if problem.line else f"{path}: {problem.sentence}"


# --- the shape: what the schema says, in words --------------------------------------------------------------------


def _shape(marked: Marked) -> Iterator[Problem]:
    from jsonschema import Draft202012Validator

    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    for error in Draft202012Validator(schema).iter_errors(marked.data):
        route: Route = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known: list[str] = list(error.schema["properties"])
            for key in sorted(set(marked.at(route)) - set(known)):
                yield marked.problem((*route, key), _unknown_key(key, route, known))
        elif sentence := _sentence(str(error.validator), error.validator_value, error.message, marked, route):
            yield marked.problem(route, sentence)


def _unknown_key(key: str, route: Route, known: list[str]) -> str:
    if key == "maxConnectedClusters":
        return f"{key} is not built yet; ids run from 1 to 255"
    if key in _FOUND_OUT and "context" in known:
        return f"{spell(route)} has no key {key}: of existing clusters that is found out; leave it out"
    folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(key.lower(), folded, n=1, cutoff=0.5)
    where = spell(route) if route else "a fleet file"
    hint = f"did you mean {folded[near[0]]}?" if near else f"known keys are {', '.join(known)}"
    return f"{where} has no key {key}; {hint}"


def _sentence(rule: str, wanted: Any, message: str, marked: Marked, route: Route) -> str:
    """What one broken rule of the schema means; empty when another rule says it better."""
    name, value, raw = spell(route), marked.at(route), marked.spelling.get(route, "")
    match rule:
        case "type":
            return _type(wanted, name, value, raw)
        case "required":
            # jsonschema reports each missing key by itself: the same sentence each time, told once.
            missing = [key for key in wanted if key not in value]
            who = (f"{name} ({value['name']})" if value.get("name") else name) if route else "the fleet"
            return f"{who} has no {' and no '.join(missing)}; add {'it' if len(missing) == 1 else 'them'}"
        case "enum":
            choices = f"{', '.join(wanted[:-1])} or {wanted[-1]}"
            return f"{name} {f'is {raw}' if raw else 'has no proper value'}; use {choices}"
        case "pattern":
            return _pattern(route, value) if value else ""
        case "minLength":
            return f"{name} is empty; give it a name"
        case "maxLength":
            return f"{name} {value} has {len(value)} characters; {wanted} are allowed"
        case "minimum" | "maximum":
            allowed = {
                "id": "1 to 255 (0 means no mesh)",
                "workers": "1 to 154 (they stand at .101 to .254)",
            }
            return f"{name} is {value}; use {allowed[str(route[-1])]}"
        case "minItems":
            return f"{name} has {len(value)} of the {wanted} or more members that make a mesh"
    return f"{name}: {message}"


def _type(wanted: str, name: str, value: object, raw: str) -> str:
    nouns = {
        "object": "a mapping (key: value)",
        "array": "a list",
        "integer": "a whole number",
        "string": "text",
    }
    seen = {dict: "a mapping", list: "a list", str: "text", int: "a number", bool: "yes or no", type(None): "nothing"}
    advice = f"; put {raw} in quotes" if wanted == "string" and raw else ""
    return f"{name} must be {nouns[wanted]}, not {seen[type(value)]}{f' ({raw})' if raw else ''}{advice}"


def _pattern(route: Route, value: str) -> str:
    name = spell(route)
    if not str(route[-1]).endswith("CIDR"):
        rule = "use lower-case letters, digits and '-', with a letter or digit first and last"
        return f"{name} {value!r} is no name: {rule}"
    if ":" in value:
        return f"{name} {value} is not IPv4; IPv6 is not built yet"
    return f"{name} {value!r} is no IPv4 network; write it like 10.101.0.0/24"


# --- the rules: each value by itself ------------------------------------------------------------------------------


def _usable(marked: Marked) -> Iterator[Problem]:
    yield from _rules(marked)
    existing = marked.data["provider"] == "existing"
    for key, later in (_NOT_BUILT_EXISTING if existing else _NOT_BUILT).items():
        if marked.data.get(key) in later:
            yield marked.problem((key,), f"{key} {marked.data[key]} is not built yet")
    if marked.data["provider"] == "embedded" and marked.data["mesh"] == "none":
        yield marked.problem(("mesh",), "mesh none is built with provider kind only")


def _rules(marked: Marked) -> Iterator[Problem]:
    data = marked.data
    for i, member in enumerate(data["clusters"]):
        if reason := _RESERVED_NAMES.get(member["name"]):
            yield marked.problem(("clusters", i, "name"), f"no cluster may be named {member['name']}: {reason}")
    yield from _twins(marked, "name")
    if data["provider"] == "existing":
        for key in ("serviceCIDR", "nodeCIDR"):
            if key in data:
                yield marked.problem((key,), f"{key} of existing clusters is found out; leave it out")
        return
    yield from _twins(marked, "id")
    yield from nodenetworks.problems(marked)
    yield from networks.each(marked)


def _twins(marked: Marked, key: str) -> Iterator[Problem]:
    first: dict[Any, int] = {}
    for i, member in enumerate(marked.data["clusters"]):
        value = member[key]
        if value not in first:
            first[value] = i
            continue
        line = marked.line(("clusters", first[value], key))
        holder = marked.data["clusters"][first[value]]["name"] if key == "id" else f"clusters[{first[value]}]"
        sentence = (
            f"clusters[{i}].{key} {value} is already the {key} of {holder} (line {line}); "
            f"give each cluster its own {key}"
        )
        yield marked.problem(("clusters", i, key), sentence)
