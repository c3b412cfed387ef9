"""What a run would do, told before anything is touched: its cases, what they put into each cluster, and how long.

Cases are read from the suite itself, as marks and signatures of its test functions; nothing is run. What a case makes
is counted in its source: each way to make something, once for each time it stands there (in a loop over dialects, too).
How long is from seconds once measured (`seconds.yaml`) by a rule of thumb: 10 s to begin, the cases side by side, half
of the longest one at the end. It met runs on two and three embedded clusters within a fifth; a real kubelet starts pods
slower.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import statistics
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters.fleet import Feature, FleetSpec, Writes
from meshproof.fixtures.arrival import PODS as BLINKING
from meshproof.fixtures.floor import REPLICAS
from meshproof.fixtures.flowchart import deals
from meshproof.fixtures.profiles import load_profile
from meshproof.fixtures.requirements import Need, catalogue, need_of
from meshproof.fixtures.support import reason_for

_SECONDS = Path(__file__).with_name("seconds.yaml")
BEGIN_SECONDS = 10.0
ANNEX = "shop.annex"


@dataclass(frozen=True, slots=True)
class Case:
    """The cases of one test function. `runs` is how many items it becomes: one for each ordered pair, or one."""

    requirement: str
    title: str
    runs: int
    why_not: str
    """Why none of them is run; empty when they are."""
    seconds: float
    """Of one."""
    makes: Mapping[str, int]
    """Objects of its own in a cluster it is about, by kind; gone when it ends."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has not been started."""

    cases: tuple[Case, ...]
    shared: Mapping[str, int]
    """Objects in each cluster that all cases share, by kind."""
    seconds: float
    basis: str

    @property
    def running(self) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if not case.why_not)

    def makes(self, clusters: int) -> Mapping[str, int]:
        """Objects of all cases in one cluster, over the whole run: each cluster is in that many of the pairs."""
        found: Counter[str] = Counter()
        for case in self.running:
            pairs = case.runs if case.runs == 1 else 2 * (clusters - 1)
            for kind, number in case.makes.items():
                found[kind] += number * pairs
        return dict(found)


def plan(spec: FleetSpec, lacks: Mapping[Feature, str], suites: Sequence[str], *, at_once: int) -> Plan:
    """The run of these suites on this fleet, whose mesh and profile are known by now. Raises EnvironmentUnfit."""
    seconds, basis = _measured()
    clusters = len(spec.clusters)
    usual = statistics.median(seconds.values())
    cases, used = [], set[str]()
    for function, need in _functions(suites):
        names = set(inspect.signature(function).parameters)
        why = _why_not(need, spec, lacks)
        runs = clusters * (clusters - 1) if "pair" in names else 1
        makes = {} if why else _makes(function, need)
        cases.append(Case(need.id, catalogue()[need.id].title, runs, why, seconds.get(need.id, usual), makes))
        if not why:
            used |= names | _annexes(function)
    going = [case for case in cases if not case.why_not]
    total = sum(case.seconds * case.runs for case in going) / at_once
    longest = max((case.seconds for case in going), default=0.0)
    expected = BEGIN_SECONDS + total + longest / 2 if going else 0.0
    order = {id: number for number, id in enumerate(catalogue())}
    ranked = tuple(sorted(cases, key=lambda case: order[case.requirement]))
    return Plan(ranked, _shared(spec, used), expected, basis)


def _functions(suites: Sequence[str]) -> Iterator[tuple[Callable[..., object], Need]]:
    root = Path(__file__).parent
    for suite in suites:
        for module in sorted((root / suite).glob("test_*.py")):
            for thing in vars(importlib.import_module(f"meshproof.{suite}.{module.stem}")).values():
                if inspect.isfunction(thing) and (need := need_of(getattr(thing, "pytestmark", ()))):
                    yield thing, need


def _why_not(need: Need, spec: FleetSpec, lacks: Mapping[Feature, str]) -> str:
    """As the run itself decides: excluded for whose clusters they are, or unsupported."""
    if need.exclusive and spec.writes is Writes.OWN:
        return "excluded: it disturbs clusters somebody else made"
    listed = reason_for(
        need.id, provider=spec.provider, mesh=spec.mesh, profile=spec.profile, clusters=len(spec.clusters)
    )
    told = listed or "; ".join(lacks[feature] for feature in sorted(need.features) if feature in lacks)
    return f"unsupported: {told}" if told else ""


def _makes(function: Callable[..., object], need: Need) -> dict[str, int]:
    """What its source makes in one cluster. A comprehension counts once, whatever it goes over."""
    found: Counter[str] = Counter()
    if need.mutates and "echo" in inspect.signature(function).parameters:
        found["Service"] += 1
    for node in _calls(function):
        if ast.unparse(node.func) == "shop.echo":
            found["Service"] += 1
            found["ReplicaSet"] += sum(keyword.arg == "pods" for keyword in node.keywords)
        if ast.unparse(node.func) == "shop.namespace":
            found += Counter(Namespace=1, ConfigMap=1)
    return {kind: number for kind, number in found.items() if number}


def _annexes(function: Callable[..., object]) -> set[str]:
    """The namespaces beside the shop's that it shares with other cases, by the words that ask for them."""
    return {ast.unparse(node) for node in _calls(function) if ast.unparse(node.func) == ANNEX}


def _calls(function: Callable[..., object]) -> Iterator[ast.Call]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _shared(spec: FleetSpec, used: set[str]) -> dict[str, int]:
    """What stands in each cluster while the run lasts, by what its cases ask for."""
    clusters, dialects = len(spec.clusters), len(load_profile(spec.profile).dialects)
    made = Counter(Namespace=1, ConfigMap=1, Deployment=len(REPLICAS), Pod=sum(REPLICAS.values()), Service=dialects)
    annexes = sum(name.startswith(ANNEX) for name in used)
    made += Counter(Namespace=annexes, ConfigMap=annexes)
    if "flowchart" in used:
        made["Service"] += sum(1 for _ in deals(clusters))
    if "arrivals" in used:
        made += Counter(Pod=BLINKING, Service=BLINKING * clusters)
    return dict(made)


def _measured() -> tuple[dict[str, float], str]:
    import yaml

    document: dict[str, Any] = yaml.safe_load(_SECONDS.read_text(encoding="utf-8"))
    return document["requirements"], document["basis"]
