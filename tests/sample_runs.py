"""Made-up runs for the tests of results and reports; no fleet is behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from meshproof.clusters.fleet import MeshIdentity
from meshproof.fixtures.requirements import catalogue
from meshproof.fixtures.results import CaseResult, RunResult
from meshproof.fixtures.verdicts import Verdict

MESH = MeshIdentity("meshproof reference mesh", "0.1.0", "says nothing about Cilium or AKS")


def case(
    requirement: str = "DISC-01",
    pair: tuple[str, str] | None = ("east", "west"),
    verdict: Verdict = Verdict.PASSED,
    reason: str = "all 20 of 20 replies came from west",
) -> CaseResult:
    """One judged case."""
    name = f"{requirement}[{'-'.join(pair)}]" if pair else requirement
    return CaseResult(
        id=name,
        requirement=requirement,
        title=catalogue()[requirement].title,
        pair=pair,
        verdict=verdict,
        reason=reason,
        message="",
        seconds=2.5,
        history=f"cases/{name}/history.jsonl",
        nodeid=f"conformance/test_discovery.py::{name}",
        rerun=f"meshproof run --fleet two --seed 7 -k '{name}'",
        observed={},
        at=1.0,
    )


def broken(requirement: str = "DISC-04", pair: tuple[str, str] = ("east", "west")) -> CaseResult:
    """A failed case with its four-part message."""
    found = case(requirement, pair, Verdict.FAILED, "1 of 40 replies still came from east after 10.0 s")
    return replace(
        found,
        message=f"promised: the peer stops using the unshared backends\nseen: {found.reason}\n"
        f"evidence: {found.history}\nagain: {found.rerun}",
    )


def bare(requirement: str, verdict: Verdict, reason: str) -> CaseResult:
    """A requirement for which nothing ran."""
    return replace(case(requirement, None, verdict, reason), seconds=0.0, history=None, nodeid="", rerun="")


def every_pair(names: tuple[str, ...], requirement: str) -> Iterator[CaseResult]:
    for pair in permutations(names, 2):
        yield case(requirement, pair)


def run(*cases: CaseResult, names: tuple[str, ...] = ("east", "west"), exit_code: int | None = 0) -> RunResult:
    """A run of exactly these cases, planned in this order."""
    clusters = [
        {"name": name, "id": n, "kubernetes": "v1.36.3", "uid": f"0000000{n}-kube-system", "nodes": 2}
        for n, name in enumerate(names, start=1)
    ]
    return RunResult(
        version=1,
        suite="0.1.0",
        started="2026-11-22T04:35:00Z",
        seconds=75.25,
        seed=7,
        command="meshproof run conformance --fleet two --seed 7",
        suites=("conformance",),
        fleet={"name": "two", "provider": "embedded", "mesh": "reference", "profile": "cilium", "clusters": clusters},
        mesh=MESH,
        profile="cilium",
        planned=tuple(each.id for each in cases if each.verdict not in (Verdict.NOT_BUILT, Verdict.EXCLUDED)),
        cases=cases,
        exit_code=exit_code,
    )


def one_of_each() -> RunResult:
    """Every verdict once, and one planned case that never reported."""
    observed = replace(case("DISC-18", verdict=Verdict.OBSERVED), observed={"ready_to_reply_seconds_p95": 0.8})
    found = run(
        case(),
        case("DISC-01", ("west", "east")),
        broken(),
        case("DISC-04", ("west", "east"), Verdict.UNKNOWN, "3 of 40 probes were lost with their pod"),
        observed,
        case("LB-04", verdict=Verdict.UNSUPPORTED, reason="the mesh does not offer affinity"),
        bare("DISC-08", Verdict.NOT_BUILT, "the suite does not test it yet"),
        bare("LB-01", Verdict.NOT_BUILT, "the suite does not test it yet"),
        bare("DISC-05", Verdict.EXCLUDED, "left out by the selection of this run"),
        exit_code=1,
    )
    return replace(found, planned=(*found.planned, "DISC-02[west-east]"))
