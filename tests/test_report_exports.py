"""junit.xml and allure-results/: what other programs read says the same as the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from meshproof.fixtures.results import RunResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.report import allure, junit
from meshproof.report.view import view
from tests.sample_runs import broken, case, one_of_each, run


def junit_cases(result: RunResult) -> dict[str, ET.Element]:
    """The testcases of the emitted XML by name."""
    found = ET.fromstring(junit.text(view(result)))
    cases = found.findall("./testsuite/testcase")
    assert len({each.get("name") for each in cases}) == len(cases)
    return {str(each.get("name")): each for each in cases}


def properties(element: ET.Element) -> dict[str, str]:
    return {str(each.get("name")): str(each.get("value")) for each in element.findall("./properties/property")}


@pytest.mark.parametrize(
    ("name", "element", "verdict"),
    [
        ("DISC-01[east-west]", None, "passed"),
        ("DISC-18[east-west]", None, "observed"),
        ("DISC-04[east-west]", "failure", "failed"),
        ("DISC-04[west-east]", "error", "unknown"),
        ("DISC-02[west-east]", "error", "unknown"),
        ("LB-04[east-west]", "skipped", "unsupported"),
        ("DISC-08", "skipped", "not-built"),
        ("DISC-05", "skipped", "excluded"),
    ],
)
def test_each_verdict_has_its_element(name: str, element: str | None, verdict: str) -> None:
    """Failed is a failure, unknown and never reported are errors, neutral ones skipped; green ones have no element."""
    found = junit_cases(one_of_each())[name]
    assert [child.tag for child in found if child.tag != "properties"] == ([element] if element else [])
    assert properties(found)["verdict"] == verdict


def test_a_failure_carries_the_whole_message() -> None:
    """A failed testcase has the reason as its message and all four parts as its text."""
    failure = junit_cases(one_of_each())["DISC-04[east-west]"].find("failure")
    assert failure is not None
    assert failure.get("message") == broken().reason
    assert failure.text == broken().message


def test_skipped_says_why() -> None:
    """The reason of an unsupported case is in its skipped element."""
    skipped = junit_cases(one_of_each())["LB-04[east-west]"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "unsupported: the mesh does not offer affinity"


def test_counts_and_facts_are_on_the_suite() -> None:
    """The suite's numbers add up with its testcases, and its properties name mesh, fleet, profile and seed."""
    root = ET.fromstring(junit.text(view(one_of_each())))
    [suite] = root
    for element in (root, suite):
        assert {name: element.get(name) for name in ("tests", "failures", "errors", "skipped", "time")} == {
            "tests": "10",
            "failures": "1",
            "errors": "2",
            "skipped": "4",
            "time": "75.25",
        }
    facts = properties(suite)
    assert facts["mesh"] == "meshproof reference mesh 0.1.0 (says nothing about Cilium or AKS)"
    assert (facts["fleet"], facts["profile"], facts["seed"]) == ("two", "cilium", "7")


def test_observed_values_are_properties() -> None:
    """A measurement is a property of its testcase."""
    assert properties(junit_cases(one_of_each())["DISC-18[east-west]"])["observed.ready_to_reply_seconds_p95"] == "0.8"


def test_two_results_of_one_case_keep_both() -> None:
    """A name is given once, so that no reader drops the red one of two results."""
    names = junit_cases(run(case(), case(verdict=Verdict.FAILED), exit_code=1))
    assert list(names) == ["DISC-01[east-west]", "DISC-01[east-west] (result 2)"]


@pytest.mark.parametrize("odd", ["\x00", "\x1b[31m", "\ufffe", "\udc80", "]]>", "<&\"'", "\r", "\U0001f4a5"])
def test_no_text_breaks_the_xml(odd: str) -> None:
    """Whatever a pod answered, the file parses and the text around it is there."""
    message = f"before {odd} after"
    failure = junit_cases(run(replace(broken(), message=message, reason=message), exit_code=1))["DISC-04[east-west]"][1]
    assert failure.text is not None
    assert failure.text.startswith("before ")
    assert failure.text.endswith(" after")


def test_a_huge_message_is_cut() -> None:
    """Thousands of megabyte messages would be refused by CI systems; the report keeps the whole text."""
    failure = junit_cases(run(replace(broken(), message="x" * 10**6), exit_code=1))["DISC-04[east-west]"][1]
    assert failure.text is not None
    assert len(failure.text) < 21_000
    assert failure.text.endswith("(cut; see report.yaml)")


def allure_results(result: RunResult, run_dir: Path) -> dict[str, dict[str, Any]]:
    """What was written for Allure, by case id."""
    folder = run_dir / "allure-results"
    allure.write(view(result), run_dir, folder)
    loaded = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*-result.json")]
    assert len(loaded) == len(view(result).run.cases)
    return {each["name"].split()[0]: each for each in loaded}


def test_allure_has_every_case_with_its_status(tmp_path: Path) -> None:
    """Unknown is broken, everything neutral is skipped, and skipped says which verdict it was and why."""
    found = allure_results(one_of_each(), tmp_path)
    assert {name: each["status"] for name, each in found.items()} == {
        "DISC-01[east-west]": "passed",
        "DISC-01[west-east]": "passed",
        "DISC-18[east-west]": "passed",
        "DISC-04[east-west]": "failed",
        "DISC-04[west-east]": "broken",
        "DISC-02[west-east]": "broken",
        "LB-04[east-west]": "skipped",
        "DISC-08": "skipped",
        "LB-01": "skipped",
        "DISC-05": "skipped",
    }
    assert found["DISC-05"]["statusDetails"]["message"] == "excluded: left out by the selection of this run"
    assert found["DISC-04[east-west]"]["statusDetails"]["trace"] == broken().message


def test_allure_knows_area_requirement_pair_and_time(tmp_path: Path) -> None:
    """Labels and parameters say what the case is about, and its times lie in the run."""
    found = allure_results(one_of_each(), tmp_path)["DISC-04[east-west]"]
    labels = {(each["name"], each["value"]) for each in found["labels"]}
    assert {
        ("feature", "Global service discovery"),
        ("story", "DISC-04"),
        ("tag", "meshproof reference mesh"),
    } <= labels
    assert {each["name"]: each["value"] for each in found["parameters"]} == {"pair": "east>west", "seed": "7"}
    assert found["start"] == 1795322100000 + 1000
    assert found["stop"] - found["start"] == 2500


def test_allure_recognises_a_case_in_the_next_run(tmp_path: Path) -> None:
    """Another seed keeps the history id; another pair, requirement or fleet has another."""
    first = allure_results(one_of_each(), tmp_path)
    again = allure_results(replace(one_of_each(), seed=8, started="2026-12-01T00:00:00Z"), tmp_path)
    assert {name: each["historyId"] for name, each in first.items()} == {n: e["historyId"] for n, e in again.items()}
    assert len({each["historyId"] for each in first.values()}) == len(first)
    elsewhere = replace(one_of_each(), fleet={**one_of_each().fleet, "name": "three"})
    assert not {e["historyId"] for e in first.values()} & {
        e["historyId"] for e in allure_results(elsewhere, tmp_path).values()
    }


def test_allure_gets_the_history_and_nothing_from_outside(tmp_path: Path) -> None:
    """A history in the run is attached; a path that leads out of the run is not followed."""
    run_dir = tmp_path / "run"
    inside = run_dir / "cases/DISC-01[east-west]/history.jsonl"
    inside.parent.mkdir(parents=True)
    inside.write_text('{"v":1}\n')
    (tmp_path / "secret").write_text("key")
    result = run(case(), replace(case("DISC-02"), history="../secret"), case("DISC-03"))
    found = allure_results(result, run_dir)
    [attachment] = found["DISC-01[east-west]"]["attachments"]
    assert attachment["name"] == "history.jsonl"
    assert (run_dir / "allure-results" / attachment["source"]).read_text() == '{"v":1}\n'
    assert "attachments" not in found["DISC-02[east-west]"]
    assert "attachments" not in found["DISC-03[east-west]"]


def test_allure_environment_is_plain_properties(tmp_path: Path) -> None:
    """The environment file names the mesh first, one ASCII line each, whatever the command holds."""
    odd = replace(one_of_each(), command="meshproof run -k 'a\nb' --fleet zwölf\\x")
    allure.write(view(odd), tmp_path, tmp_path / "allure-results")
    lines = (tmp_path / "allure-results/environment.properties").read_text(encoding="ascii").splitlines()
    assert lines[0] == "mesh=meshproof reference mesh 0.1.0 (says nothing about Cilium or AKS)"
    assert lines[-1] == "command=meshproof run -k 'a b' --fleet zw\\u00f6lf\\\\x"


def test_allure_results_are_replaced_and_private(tmp_path: Path) -> None:
    """Rendering again leaves no result of the first time, and only the owner may look into the folder."""
    allure_results(one_of_each(), tmp_path)
    allure_results(run(case()), tmp_path)
    assert (tmp_path / "allure-results").stat().st_mode & 0o777 == 0o700
