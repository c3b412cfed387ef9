"""The raw results of a run: what is written is what is read, and what cannot be read is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.fixtures import results
from meshproof.fixtures.verdicts import Verdict
from tests.sample_runs import case, one_of_each, run


def test_a_run_reads_back_as_it_was_saved(tmp_path: Path) -> None:
    """Saving and loading a run with every verdict in it changes nothing."""
    results.save(tmp_path / "run", one_of_each())
    assert results.load(tmp_path / "run") == one_of_each()


def test_odd_characters_survive(tmp_path: Path) -> None:
    """Line separators, control characters and emoji inside a message do not break the line format."""
    odd = replace(
        case(), message="a\u2028b\x85c\x1b[31m\r\n\U0001f4a5", observed={"note": "\u2029", "seconds_max": 0.5}
    )
    results.save(tmp_path, run(odd))
    assert results.load(tmp_path).cases == (odd,)


def test_nobody_else_may_read_a_run(tmp_path: Path) -> None:
    """The directory is 0700 and both files are 0600, also after a case was appended."""
    results.save(tmp_path / "run", run())
    results.append(tmp_path / "run", case())
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o600}


def test_a_killed_run_keeps_its_plan_and_its_cases(tmp_path: Path) -> None:
    """What was appended before a run was killed is there; the rest of the plan is unreported and has no exit code."""
    planned = replace(run(exit_code=None), planned=("DISC-01[east-west]", "DISC-01[west-east]"))
    results.save(tmp_path, planned)
    results.append(tmp_path, case())
    found = results.load(tmp_path)
    assert [each.id for each in found.cases] == ["DISC-01[east-west]"]
    assert found.unreported() == ("DISC-01[west-east]",)
    assert found.exit_code is None


def test_a_torn_last_line_is_dropped_with_a_note(tmp_path: Path) -> None:
    """Half a result is no result: the case is unreported and the run says why."""
    results.save(tmp_path, run(case()))
    with (tmp_path / results.CASES_FILE).open("a") as out:
        out.write('{"id": "DISC-01[we')
    found = results.load(tmp_path)
    assert len(found.cases) == 1
    assert "killed" in found.notes[-1]


@pytest.mark.parametrize("damage", ["{}\n", "[]\n", "not json\n", '{"id": 1}\n', "\n"])
def test_other_damage_is_refused_with_file_and_line(tmp_path: Path, damage: str) -> None:
    """A whole line that is no result makes the run unfit, with the place."""
    results.save(tmp_path, run(case()))
    with (tmp_path / results.CASES_FILE).open("a") as out:
        out.write(damage)
    with pytest.raises(EnvironmentUnfit, match=r"results\.jsonl:2"):
        results.load(tmp_path)


@pytest.mark.parametrize("change", [{"version": 2}, {"mesh": {}}, {"planned": None}, {"seed": "x"}])
def test_a_foreign_run_record_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """A run.json of another version or shape makes the run unfit."""
    results.save(tmp_path, run())
    path = tmp_path / results.RUN_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EnvironmentUnfit, match=r"run\.json"):
        results.load(tmp_path)


def test_a_directory_that_is_no_run_is_unfit(tmp_path: Path) -> None:
    """Loading something else gives one sentence that names it."""
    with pytest.raises(EnvironmentUnfit, match=r"is not a run of meshproof: it has no run\.json"):
        results.load(tmp_path)


def test_nothing_of_a_kubeconfig_is_written(tmp_path: Path) -> None:
    """Facts about the fleet are an allow-list: whatever else the mapping holds stays out of the files."""
    secret = "c2VjcmV0LWtleS1kYXRh"
    cluster = {"name": "east", "id": 1, "uid": "u", "client-key-data": secret, "server": "https://10.101.0.10:6443"}
    leaky = replace(run(), fleet={"name": "two", "kubeconfig": secret, "clusters": [cluster]})
    results.save(tmp_path, leaky)
    written = (tmp_path / results.RUN_FILE).read_text()
    assert secret not in written
    assert "6443" not in written
    assert results.load(tmp_path).fleet == {"name": "two", "clusters": [{"name": "east", "id": 1, "uid": "u"}]}


def test_a_verdict_is_stored_by_its_word() -> None:
    """The stored verdict is the word that reports use, so that a file can be read without this code."""
    assert results.case_to_plain(case(verdict=Verdict.NOT_BUILT))["verdict"] == "not-built"
