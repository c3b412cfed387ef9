"""report.yaml: it fits its published schema, says what was tested, and holds no secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from meshproof.clusters.fleet import EnvironmentUnfit, MeshIdentity
from meshproof.fixtures import results
from meshproof.fixtures.results import RunResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.report import load, write_all
from meshproof.report.document import schema, text
from meshproof.report.view import headline, view
from tests.sample_runs import bare, broken, case, every_pair, one_of_each, run


def emitted(result: RunResult) -> dict[str, Any]:
    """The document as a reader gets it, checked against the schema."""
    document: dict[str, Any] = yaml.safe_load(text(view(result)))
    jsonschema.Draft202012Validator(schema()).validate(document)
    return document


@pytest.mark.parametrize(
    "result",
    [
        one_of_each(),
        run(),
        run(exit_code=None),
        run(*every_pair(("a", "b", "c", "d", "e", "f"), "DISC-01"), names=("a", "b", "c", "d", "e", "f")),
        run(case("OBS-01", None)),
        replace(run(), fleet={"clusters": [{"name": "east"}]}, mesh=MeshIdentity("cilium", "1.20.0", "")),
    ],
    ids=["every verdict", "nothing ran", "killed", "six clusters", "whole fleet", "little known"],
)
def test_the_report_fits_its_schema(result: RunResult) -> None:
    """Whatever a run came to, its report.yaml is valid against the schema beside the code."""
    emitted(result)


def test_the_schema_is_one_and_strict() -> None:
    """The schema is itself valid, and refuses a field that it does not know."""
    jsonschema.Draft202012Validator.check_schema(schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**emitted(run(case())), "kubeconfig": ""}, schema())


def test_the_mesh_under_test_comes_first() -> None:
    """After apiVersion and kind a reader learns which mesh this is about, and what that does not say."""
    document = emitted(one_of_each())
    assert list(document)[:3] == ["apiVersion", "kind", "mesh"]
    assert document["mesh"]["disclaimer"] == "says nothing about Cilium or AKS"
    assert any("says nothing about Cilium or AKS" in sentence for sentence in document["limits"])


def test_a_case_that_never_reported_is_unknown() -> None:
    """A planned case without a result is in the matrix and among the cases, as unknown, and named in the summary."""
    document = emitted(one_of_each())
    assert document["summary"]["unreported"] == ["DISC-02[west-east]"]
    [cell] = next(r for r in document["requirements"] if r["id"] == "DISC-02")["pairs"]
    assert cell == {"from": "west", "to": "east", "verdict": "unknown"}


def test_a_pair_is_found_among_clusters_whose_names_hold_dashes() -> None:
    """The pair of an unreported case is right even where its id could be split in several places."""
    names = ("eu-west", "eu", "west-eu")
    result = replace(run(case("DISC-01", ("eu-west", "eu")), names=names), planned=("DISC-01[eu-west-eu]",))
    ambiguous = replace(result, cases=())
    assert view(ambiguous).run.cases[0].pair in {("eu-west", "eu"), ("eu", "west-eu")}


def test_a_result_nobody_planned_is_named() -> None:
    """A case that reports without having been planned is counted and listed as unplanned."""
    result = replace(run(case()), planned=())
    assert emitted(result)["summary"]["unplanned"] == ["DISC-01[east-west]"]


def test_several_cases_of_one_pair_give_the_worst() -> None:
    """The cell of a pair with a passed and a failed case says failed, in either order."""
    good = case("DISC-04")
    bad = replace(broken(), id="DISC-04[east-west-again]")
    for order in ((good, bad), (bad, good)):
        [row] = emitted(run(*order, exit_code=1))["requirements"]
        assert row["pairs"][0]["verdict"] == row["verdict"] == "failed"


def test_the_order_is_the_plan_not_the_arrival() -> None:
    """Results that arrive in another order, as from several workers, give the same bytes."""
    result = one_of_each()
    assert text(view(result)) == text(view(replace(result, cases=result.cases[::-1])))


@pytest.mark.parametrize(
    ("result", "words", "profile"),
    [
        (run(case()), "PASSED 1 of 1", "success"),
        (run(case(), bare("DISC-08", Verdict.NOT_BUILT, "")), "PASSED 1 of 1, 1 not built", "partial"),
        (one_of_each(), "FAILED 1 of 7, 2 not built", "failure"),
        (run(case(verdict=Verdict.UNKNOWN), exit_code=11), "UNKNOWN 1 of 1", "unknown"),
        (run(case(verdict=Verdict.OBSERVED)), "OBSERVED 1 of 1", "success"),
        (run(case(verdict=Verdict.UNSUPPORTED), exit_code=5), "NOTHING RAN of 1 (exit 5)", "unknown"),
        (run(exit_code=5), "NOTHING RAN of 0 (exit 5)", "unknown"),
        (run(exit_code=10), "UNFIT ENVIRONMENT (exit 10)", "unknown"),
        (run(case(), exit_code=2), "INTERRUPTED (exit 2)", "unknown"),
        (run(case(), exit_code=11), "NOT GREEN (exit 11)", "unknown"),
        (run(case(), exit_code=None), "UNFINISHED after 1 of 1", "unknown"),
    ],
)
def test_the_headline_says_the_worst(result: RunResult, words: str, profile: str) -> None:
    """The headline follows failed, unknown, unfit, nothing ran; only a run that ended with 0 sounds green."""
    assert headline(view(result)) == words
    assert emitted(result)["profile"]["result"] == profile


def test_no_field_comes_from_a_kubeconfig() -> None:
    """A fleet mapping that holds credentials leaves none in the report, under any name."""
    secret = "LS0tLS1CRUdJTiBQUklWQVRF"
    cluster = {"name": "east", "id": 1, "client-key-data": secret, "server": "https://10.0.0.1:6443", "context": "east"}
    written = text(view(replace(run(case()), fleet={"clusters": [cluster], "kubeconfig": secret, "token": secret})))
    for word in (secret, "kubeconfig", "client-key", "6443", "context", "token"):
        assert word not in written


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nMIIB cut off",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2ln",
        "Authorization: Bearer abcdefgh12345678",
        "client-key-data: TFMwdExTMUNSVWRKVGlC",
        '"token": "0123456789abcdef"',
    ],
)
def test_what_looks_like_a_secret_is_cut_from_messages(tmp_path: Path, secret: str) -> None:
    """A key, certificate or token that got into a message by mistake is in none of the reports."""
    leaky = replace(broken(), message=f"seen: {secret} and more", reason=secret)
    write_all(run(leaky, exit_code=1), tmp_path)
    core = secret.splitlines()[1] if "\n" in secret else secret.split()[-1].strip('"')
    reports = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(reports) >= 4
    assert not [path.name for path in reports if core in path.read_text(encoding="utf-8")]


def test_reports_are_for_the_owner_only_and_can_be_made_again(tmp_path: Path) -> None:
    """From the raw results alone the same report.yaml and junit.xml come out again, mode 0600."""
    results.save(tmp_path, one_of_each())
    write_all(load(tmp_path), tmp_path)
    files = [tmp_path / "report.yaml", tmp_path / "junit.xml"]
    first = [path.read_bytes() for path in files]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    write_all(load(tmp_path), tmp_path)
    assert [path.read_bytes() for path in files] == first


def test_loading_something_else_is_unfit(tmp_path: Path) -> None:
    """A directory that is no run is refused in one sentence."""
    with pytest.raises(EnvironmentUnfit, match="is not a run"):
        load(tmp_path)
