"""Claims, support list and catalogue agree with each other and with the cases; how a claim stands after a run."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from meshproof.cli.casebook import cases_of
from meshproof.clusters import fleetfile
from meshproof.clusters.datafiles import DataDamaged
from meshproof.clusters.fleet import Feature
from meshproof.clusters.meshes.reference.defects import every
from meshproof.clusters.meshes.reference.mesh import ReferenceMesh
from meshproof.fixtures import claims, support
from meshproof.fixtures.claims import ledger
from meshproof.fixtures.profiles import load_profile, profile_names
from meshproof.fixtures.requirements import SUITES, built_ids, catalogue, need_of
from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.support import reason_for, work_for
from meshproof.fixtures.verdicts import Verdict
from meshproof.report.claims import Standing, Stood, spans, standings
from meshproof.report.view import view
from tests.sample_runs import bare, case, every_pair, run
from tests.test_tidy import files, path

FIXTURES = Path(claims.__file__).parent
NOBODY = 99
"""The number of ids that stand for none, in tests of what happens then."""


def test_every_claim_has_requirements_and_a_document() -> None:
    """The 27 claims are all there, and each stands by requirements of the catalogue."""
    assert list(ledger().claims) == [f"C{number:02}" for number in range(1, 28)]
    for claim in ledger().claims.values():
        assert claim.requirements
        assert set(claim.requirements) <= set(catalogue())
        assert set(claim.documents) <= set(ledger().documents)


@pytest.mark.parametrize("id", catalogue())
def test_a_requirement_is_tested_or_waits_for_named_work(id: str) -> None:
    """Every requirement has a test or a `not_built` line that names the work, and never both."""
    assert (id in built_ids()) != (work_for(id) is not None), (
        f"{id}: {'tested, and' if id in built_ids() else 'neither tested nor'} listed as not built in docs/support.yaml"
    )


@pytest.mark.parametrize("entry", support.support().unsupported, ids=lambda entry: ",".join(entry.requirements))
def test_a_support_entry_is_about_something(entry: support.Entry) -> None:
    """An entry names tested requirements, profiles that exist, and leaves some fleet that runs them or has a reason."""
    assert set(entry.requirements) <= built_ids(), "what is not tested anywhere is not built, not unsupported"
    assert set(entry.where.profiles) <= set(profile_names())
    assert set(entry.where.providers) <= {"embedded", "kind", "existing"}
    assert set(entry.where.meshes) <= {"reference", "cilium", "aks-fleet", "none"}
    named = [name for name in profile_names() if not entry.where.profiles or name in entry.where.profiles]
    assert len(named) < len(profile_names()) or entry.where.meshes or entry.where.clusters_fewer_than


@pytest.mark.parametrize("name", fleetfile.built_in())
def test_what_the_reference_mesh_lacks_is_listed(name: str) -> None:
    """A case that needs a feature which the mesh of a built-in fleet lacks has an entry that says why."""
    spec = fleetfile.load(fleetfile.resolve(name))
    facts = {"provider": spec.provider, "mesh": spec.mesh, "profile": spec.profile}
    lacking = [id for id, features in needs().items() if features - ReferenceMesh().features()]
    assert [id for id in lacking if reason_for(id, **facts, clusters=len(spec.clusters)) is None] == []


def test_what_the_reference_mesh_offers_is_not_hidden() -> None:
    """An entry that names the reference mesh is about a feature it lacks: else it would hide a case that can run."""
    offered, needed = ReferenceMesh().features(), needs()
    entries = [entry for entry in support.support().unsupported if "reference" in entry.where.meshes]
    assert [id for entry in entries for id in entry.requirements if needed[id] <= offered] == []


def needs() -> dict[str, frozenset[Feature]]:
    """The features that the cases of each requirement need."""
    found: dict[str, frozenset[Feature]] = {}
    for suite in SUITES:
        for module in sorted((FIXTURES.resolve().parent / suite).glob("test_*.py")):
            for thing in vars(importlib.import_module(f"meshproof.{suite}.{module.stem}")).values():
                if need := need_of(getattr(thing, "pytestmark", ())):
                    found[need.id] = found.get(need.id, frozenset()) | need.features
    return found


def test_ids_are_of_the_catalogue_wherever_they_stand() -> None:
    """No file of the checkout names a requirement or claim that does not exist, but for number 99."""
    areas = "|".join(dict.fromkeys(id.rpartition("-")[0] for id in catalogue()))
    ids = re.compile(rf"(?<![\w-])((?:{areas})-(\d\d+)|C(\d\d))(?![\w-])")
    known = {*catalogue(), *ledger().claims}
    strange = []
    for file in files():
        if file.suffix in {".py", ".yaml", ".md", ".json", ".sh"} and file.name != "go.sum":
            for found in ids.finditer(file.read_text(encoding="utf-8", errors="replace")):
                claim = found[3] is not None
                real_bug = claim and int(found[3]) > len(ledger().claims)  # part C of the research counts bugs so
                if found[1] not in known and int(found[2] or found[3]) != NOBODY and not real_bug:
                    strange.append(f"{path(file)}: {found[1]}")
    assert strange == []


def test_defects_name_requirements_that_are_tested() -> None:
    """What a defect must turn red, and what it leaves green, are ids with a test."""
    for defect in every():
        assert {defect.requirement, *defect.stays_green} <= built_ids(), defect.name


@pytest.mark.parametrize("id", sorted(built_ids()))
def test_the_catalogue_names_the_bounds_that_are_used(id: str) -> None:
    """A tested requirement is held to the bounds that its catalogue entry names, and each profile has them."""
    assert {bound for each in cases_of(id) for bound in each.bounds} <= set(catalogue()[id].bounds)
    for name in profile_names():
        assert set(catalogue()[id].bounds) <= set(load_profile(name).grounds), name


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("requirements: [DISC-01, DISC-02]", "requirements: []", "C11"),
        ("requirements: [DISC-01, DISC-02]", "requirements: [DISC-99]", "'DISC-99', which does not exist"),
        ("documents: [M, O]", "documents: [X]", "document 'X'"),
        ("only: [news]", "only: [nws]", "profile 'nws'"),
        ("topologies: [hub-and-spoke]", "topologies: [ring]", "topology 'ring'"),
        ("  C02:", "  C28:", "without a hole"),
        ("  C02:\n    claim:", "  C02:\n    clam:", "C02"),
        ("topologies:\n  hub", "topologies: [\n  hub", "claims.yaml"),
    ],
)
def test_a_bent_ledger_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    """A claim without a requirement, and any name that nobody declared, is refused with the reason."""
    text = (FIXTURES / "claims.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "claims.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataDamaged, match=re.escape(says)):
        claims.read(tmp_path / "claims.yaml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[DISC-19]", "[DISC-99]", "DISC-99 is not in the catalogue"),
        ("clusters_fewer_than: 3", "clusters: 3", "where"),
        ("where: {mesh: [reference]}", "where: {}", "where"),
        ("[PERF-01, PERF-02]", "[PERF-01, LB-14]", "LB-14 is listed as not built twice"),
        ("    since:", "    snice:", "snice"),
    ],
)
def test_a_bent_support_list_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    """An entry for nowhere in particular, an unknown id or key, and a promise listed twice are refused."""
    text = (FIXTURES / "support.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "support.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataDamaged, match=re.escape(says)):
        support.read(tmp_path / "support.yaml")


def test_a_reason_is_given_only_where_all_of_the_entry_holds() -> None:
    """Mesh, profile and size are looked at together; everything else is supported."""

    def reason(id: str, mesh: str = "reference", profile: str = "cilium", clusters: int = 3) -> str | None:
        return reason_for(id, provider="embedded", mesh=mesh, profile=profile, clusters=clusters)

    assert "endpoint slices" in str(reason("DISC-15"))
    assert reason("DISC-15", mesh="cilium") is None
    assert reason("DISC-19") is not None
    assert reason("DISC-19", profile="news") is None
    assert reason("DISC-11") is None
    assert "three" in str(reason("DISC-11", clusters=2))
    assert reason("DISC-01") is None


def stood(id: str, *cases: CaseResult, exit_code: int | None = 0, profile: str = "cilium") -> Stood:
    result = replace(run(*cases, exit_code=exit_code), profile=profile)
    return next(each for each in standings(view(result)) if each.claim.id == id)


PAIRS = ("east", "west")
BOTH = [each for id in ("DISC-01", "DISC-02") for each in every_pair(PAIRS, id)]
"""All that C11 stands by, passed."""


def test_a_claim_is_held_only_when_all_of_it_was_tested() -> None:
    """Every requirement on every pair, and nothing left out: held; without a run of it: not checked."""
    assert stood("C11", *BOTH).standing is Standing.HELD
    nothing = stood("C11", bare("DISC-01", Verdict.EXCLUDED, ""), bare("DISC-02", Verdict.NOT_BUILT, ""))
    assert (nothing.standing, nothing.why) == (Standing.NOT_CHECKED, "DISC-02 not built; DISC-01 excluded")
    assert stood("C11").standing is Standing.NOT_CHECKED


@pytest.mark.parametrize(
    ("verdict", "standing", "why"),
    [
        (Verdict.FAILED, Standing.FAILED, "DISC-02 failed"),
        (Verdict.UNKNOWN, Standing.UNKNOWN, "DISC-02 unknown"),
        (Verdict.UNSUPPORTED, Standing.IN_PART, "DISC-02 unsupported"),
        (Verdict.NOT_BUILT, Standing.IN_PART, "DISC-02 not built"),
        (Verdict.EXCLUDED, Standing.IN_PART, "DISC-02 excluded"),
        (Verdict.OBSERVED, Standing.HELD, ""),
    ],
)
def test_one_pair_is_enough_to_spoil_a_claim(verdict: Verdict, standing: Standing, why: str) -> None:
    """The worst verdict of one requirement on one pair decides, and is named."""
    found = stood("C11", *BOTH[:3], case("DISC-02", ("west", "east"), verdict), exit_code=None if why is None else 0)
    assert (found.standing, found.why) == (standing, why)


def test_a_planned_case_that_never_reported_makes_a_claim_unknown() -> None:
    """A killed worker leaves no held claim behind."""
    result = replace(run(*BOTH[:3], exit_code=11), planned=tuple(each.id for each in BOTH))
    found = next(each for each in standings(view(result)) if each.claim.id == "C11")
    assert found.standing is Standing.UNKNOWN


@pytest.mark.parametrize("code", [None, 2, 3, 10])
def test_a_run_that_did_not_end_in_order_holds_nothing(code: int | None) -> None:
    """Green cases of a run that was killed, fell over or lost its ground show nothing of a claim."""
    assert stood("C11", *BOTH, exit_code=code).standing is Standing.UNKNOWN


def test_what_the_suite_lacks_keeps_a_claim_from_being_held() -> None:
    """A topology or a fault that is not built is named, however green the requirements are."""
    found = stood("C16", *(case(id) for id in ("DISC-02", "LB-05", "FO-04")))
    assert (found.standing, found.why) == (Standing.IN_PART, "topology stateful-stateless not built")
    assert "faults F01 to F07" in stood("C13", *(case(f"FO-{n:02}") for n in range(1, 6))).why


def test_a_claim_of_another_profile_is_not_promised() -> None:
    """What no document of the profile says is neither held nor broken, unless a case of it failed."""
    assert stood("C12").standing is Standing.NOT_PROMISED
    assert stood("C12", case("DISC-19"), profile="news").standing is Standing.HELD
    assert stood("C12", case("DISC-19", verdict=Verdict.FAILED), exit_code=1).standing is Standing.FAILED


def test_measured_claims_are_observed() -> None:
    """A claim of which everything is measured without a promise is observed, not held."""
    cases = [case(id, None, Verdict.OBSERVED) for id in ("PERF-01", "PERF-02")]
    assert stood("C05", *cases).standing is Standing.OBSERVED


def test_ids_are_told_in_spans() -> None:
    """Three neighbours and more are joined, two are not."""
    assert spans(["FO-01", "FO-02", "FO-03", "FO-05", "LB-05", "LB-06"]) == "FO-01 to FO-03, FO-05, LB-05, LB-06"
    assert spans([]) == ""
