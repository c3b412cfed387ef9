"""Replay: a stored verdict comes out of its history again, and any change to either is noticed."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.fixtures import results
from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.replay import replay_verdicts
from tests.sample_runs import bare, case, run

Line = dict[str, Any]


def history(found: CaseResult, answer: str = "west", probes: int = 60) -> list[Line]:
    """A claim that all replies come from west, over probes every 0.1 s that `answer` answers."""
    header: Line = {"kind": "case", "id": found.id, "requirement": found.requirement, "pair": list(found.pair or ())}
    header |= {"profile": "cilium", "seed": 7, "fleet": "two"}
    by = {
        "cluster": answer,
        "node": f"{answer}-1",
        "namespace": "ns",
        "pod": "echo-0",
        "uid": "u",
        "peer": "10.141.1.7",
    }
    source = {"cluster": "east", "node": "east-1", "pod": "client-0"}
    seen: list[Line] = [
        {"kind": "observation", "from": source, "to": "echo.ns:80/tcp", "outcome": "reached", "by": by, "detail": ""}
        | {"due": n / 10, "start": n / 10, "end": n / 10 + 0.01, "blur": 0.001}
        for n in range(1, probes + 1)
    ]
    claim: Line = {
        "kind": "expectation",
        "name": "every reply comes from west",
        "role": "claim",
        "rule": "consistently",
    }
    claim |= {"expect": {"outcome": "reached", "cluster": "west"}, "including": None, "since": 0.1, "within": None}
    claim |= {"during": 5.0, "in_a_row": 20, "over": [2, probes + 1]}
    return [header, *seen, claim]


def store(run_dir: Path, found: CaseResult, lines: list[Line]) -> Path:
    assert found.history is not None
    path = run_dir / found.history
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = [{"v": 1, **line, "n": n} for n, line in enumerate(lines, start=1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in numbered))
    return path


def replayed(path: Path) -> tuple[int, str]:
    out = io.StringIO()
    return replay_verdicts(path, out), out.getvalue()


def stored_run(run_dir: Path, *cases: CaseResult) -> Path:
    """A run whose passed cases have a history that shows it, and its failed ones a history that shows that."""
    results.save(run_dir, run(*cases))
    for each in cases:
        if each.history:
            store(run_dir, each, history(each, "west" if each.verdict is Verdict.PASSED else "east"))
    return run_dir


GOOD = case("DISC-01")
BAD = case("DISC-02", verdict=Verdict.FAILED, reason="60 of 60 replies came from east")


def test_an_untouched_run_agrees(tmp_path: Path) -> None:
    """Passed and failed cases come out of their histories as they were stored, and the exit code is 0."""
    code, text = replayed(stored_run(tmp_path, GOOD, BAD))
    assert code == 0
    rows = [line.split() for line in text.splitlines() if line.startswith("DISC-")]
    assert rows == [
        ["DISC-01[east-west]", "passed", "passed", "same"],
        ["DISC-02[east-west]", "failed", "failed", "same"],
    ]
    assert "meshproof reference mesh 0.1.0 (says nothing about Cilium or AKS)" in text


def tallied(found: CaseResult) -> list[Line]:
    """The same probes, of which nothing is promised."""
    lines = history(found)
    lines[-1] |= {"role": "observed", "rule": "tally", "during": None, "in_a_row": 1}
    return lines


@pytest.mark.parametrize(
    ("share", "code", "said"),
    [(1.0, 0, "same"), (0.5, 1, "share from west: stored 0.5, recomputed 1.0")],
)
def test_an_observed_case_is_recomputed_with_its_values(tmp_path: Path, share: float, code: int, said: str) -> None:
    """Observed comes out of the history as observed; a stored measurement that it does not bear out differs."""
    name = "every reply comes from west, share from west"
    values = {name: share, "something no history tells": 3.0}
    seen = replace(case("LB-12", verdict=Verdict.OBSERVED), observed=values)
    results.save(tmp_path, run(seen))
    store(tmp_path, seen, tallied(seen))
    found, text = replayed(tmp_path)
    assert found == code
    assert said in " ".join(text.split())


def test_a_rule_of_a_later_version_is_not_recomputed(tmp_path: Path) -> None:
    """A history with a rule that nobody here knows is never passed: exit 11."""
    stored_run(tmp_path, GOOD)
    lines = history(GOOD)
    lines[-1]["rule"] = "linearizable"
    store(tmp_path, GOOD, lines)
    code, text = replayed(tmp_path)
    assert code == 11
    assert "NOT RECOMPUTED" in text


def answered_elsewhere(line: Line) -> None:
    line["by"]["cluster"] = "east"


def timed_out(line: Line) -> None:
    line["outcome"] = "timed-out"
    line["by"] = None


def lost(line: Line) -> None:
    line["outcome"] = "harness-error"
    line["by"] = None


@pytest.mark.parametrize(
    ("change", "verdict"), [(answered_elsewhere, "failed"), (timed_out, "failed"), (lost, "unknown")]
)
def test_one_edited_observation_changes_the_verdict(
    tmp_path: Path, change: Callable[[Line], None], verdict: str
) -> None:
    """A single reply from elsewhere, time-out or lost probe among sixty makes the recomputed verdict differ: exit 1."""
    stored_run(tmp_path, GOOD)
    lines = history(GOOD)
    change(lines[30])
    store(tmp_path, GOOD, [{k: v for k, v in line.items() if v is not None or k != "by"} for line in lines])
    code, text = replayed(tmp_path)
    assert code == 1
    assert ["DISC-01[east-west]", "passed", verdict, "DIFFERENT"] in [line.split() for line in text.splitlines()]


def test_an_edited_stored_verdict_is_noticed(tmp_path: Path) -> None:
    """A failed case that is called passed in the results does not agree with its history: exit 1."""
    stored_run(tmp_path, BAD)
    results.save(tmp_path, run(replace(BAD, verdict=Verdict.PASSED)))
    code, text = replayed(tmp_path)
    assert code == 1
    assert "DIFFERENT" in text


def test_a_missing_history_cannot_be_recomputed(tmp_path: Path) -> None:
    """A passed case whose history is gone is no agreement: exit 11."""
    stored_run(tmp_path, GOOD, BAD)
    (tmp_path / str(GOOD.history)).unlink()
    code, text = replayed(tmp_path)
    assert code == 11
    assert "NOT RECOMPUTED" in text
    assert "damaged or missing" in text


@pytest.mark.parametrize("damage", ["torn", "line removed", "not json"])
def test_a_damaged_history_cannot_be_recomputed(tmp_path: Path, damage: str) -> None:
    """A history with a torn, missing or bent line is not judged by what is left of it: exit 11."""
    stored_run(tmp_path, GOOD)
    path = tmp_path / str(GOOD.history)
    lines = path.read_text().splitlines(keepends=True)
    changed = {
        "torn": [*lines[:-1], lines[-1][:20]],
        "line removed": [*lines[:10], *lines[11:]],
        "not json": [*lines[:10], "{\n", *lines[11:]],
    }
    path.write_text("".join(changed[damage]))
    code, text = replayed(tmp_path)
    assert code == 11
    assert "NOT RECOMPUTED" in text


def test_a_history_shortened_by_whole_lines_is_noticed(tmp_path: Path) -> None:
    """The digest stored with a verdict tells that claims were cut off the end, though what is left passes too."""
    stored_run(tmp_path, GOOD)
    path = store(tmp_path, GOOD, [*history(GOOD), *history(GOOD)[1:61], history(GOOD)[-1] | {"over": [63, 122]}])
    whole = replace(GOOD, history_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    results.save(tmp_path, run(whole))
    assert replayed(tmp_path)[0] == 0
    store(tmp_path, GOOD, history(GOOD))
    code, text = replayed(tmp_path)
    assert code == 11
    assert "is not the file its verdict was made from" in " ".join(text.split())


def test_a_difference_outweighs_what_is_not_known(tmp_path: Path) -> None:
    """With one case different and one without history the exit code is 1."""
    stored_run(tmp_path, GOOD, BAD)
    (tmp_path / str(GOOD.history)).unlink()
    store(tmp_path, BAD, history(BAD, "west"))
    assert replayed(tmp_path)[0] == 1


def test_an_unknown_from_outside_the_history_is_not_called_the_same(tmp_path: Path) -> None:
    """Where a fixture broke, the history alone says something else, or there is none: both are told, neither agrees."""
    reason = "cleaning up after the case failed: ApiException: 500"
    outside = case("DISC-01", verdict=Verdict.UNKNOWN, reason=reason)
    nothing = replace(case("DISC-02", verdict=Verdict.UNKNOWN, reason="set-up failed: no answer"), history=None)
    results.save(tmp_path, run(outside, nothing, exit_code=11))
    store(tmp_path, outside, history(outside))
    code, text = replayed(tmp_path)
    assert code == 11
    shown = " ".join(text.split())
    assert reason in shown
    assert "no history was recorded; the stored reason is: set-up failed: no answer" in shown
    assert " same" not in text.replace("same?", "")


def test_an_unknown_that_its_history_shows_agrees(tmp_path: Path) -> None:
    """An unknown verdict with a lost probe in its history is recomputed as unknown: exit 0."""
    found = case("DISC-01", verdict=Verdict.UNKNOWN, reason="lost")
    results.save(tmp_path, run(found, exit_code=11))
    lines = history(found)
    lines[30]["outcome"] = "harness-error"
    del lines[30]["by"]
    store(tmp_path, found, lines)
    code, text = replayed(tmp_path)
    assert code == 0
    assert ["DISC-01[east-west]", "unknown", "unknown", "same"] in [line.split() for line in text.splitlines()]


def test_the_history_of_another_case_is_no_evidence(tmp_path: Path) -> None:
    """A history that belongs to another case is not judged in its place: exit 11."""
    stored_run(tmp_path, GOOD)
    store(tmp_path, GOOD, history(BAD))
    code, text = replayed(tmp_path)
    assert code == 11
    assert "is the history of DISC-02[east-west]" in text


def test_a_history_outside_the_run_is_not_read(tmp_path: Path) -> None:
    """A stored path that leads out of the run is refused."""
    outside = replace(GOOD, history="../elsewhere/history.jsonl")
    results.save(tmp_path / "run", run(outside))
    store(tmp_path / "run", outside, history(outside))
    code, text = replayed(tmp_path / "run")
    assert code == 11
    assert "lies outside the run" in text


def test_what_was_never_judged_from_traffic_is_only_counted(tmp_path: Path) -> None:
    """Unsupported, not built and excluded cases have nothing to recompute and do not spoil the agreement."""
    others = [
        bare("LB-04", Verdict.UNSUPPORTED, "no"),
        bare("LB-01", Verdict.NOT_BUILT, "no"),
        bare("LB-02", Verdict.EXCLUDED, "no"),
    ]
    code, text = replayed(stored_run(tmp_path, GOOD, *others))
    assert code == 0
    assert "3 more were not judged from traffic" in text


def test_a_planned_case_that_never_reported_is_not_passed_over(tmp_path: Path) -> None:
    """A run that was killed half-way does not replay as if it had been whole: exit 11."""
    stored_run(tmp_path, GOOD)
    results.save(tmp_path, replace(run(GOOD, exit_code=None), planned=(GOOD.id, BAD.id)))
    code, text = replayed(tmp_path)
    assert code == 11
    assert "planned and never reported" in text


def test_a_run_without_cases_is_no_agreement(tmp_path: Path) -> None:
    """Where there is nothing to recompute, nothing agreed: exit 11."""
    results.save(tmp_path, run())
    assert replayed(tmp_path)[0] == 11


@pytest.mark.parametrize("name", ["cases/DISC-01[east-west]", "cases/DISC-01[east-west]/history.jsonl"])
def test_one_case_can_be_replayed_alone(tmp_path: Path, name: str) -> None:
    """Given the folder or the history of one case, only that case is recomputed and compared."""
    stored_run(tmp_path, GOOD, BAD)
    code, text = replayed(tmp_path / name)
    assert code == 0
    assert "DISC-01[east-west]" in text
    assert "DISC-02[east-west]" not in text


def test_the_latest_link_is_a_run(tmp_path: Path) -> None:
    """A symbolic link to a run, such as runs/latest, replays like the run, and so does a case below it."""
    stored_run(tmp_path / "2026", GOOD, BAD)
    (tmp_path / "latest").symlink_to("2026")
    assert replayed(tmp_path / "latest")[0] == 0
    assert replayed(tmp_path / "latest" / "cases" / GOOD.id)[0] == 0


def test_a_history_without_its_run_gets_a_verdict_and_no_agreement(tmp_path: Path) -> None:
    """A history out of a bug report is judged, and the table says that there is nothing to compare with: exit 11."""
    store(tmp_path, replace(BAD, history="history.jsonl"), history(BAD, "east"))
    code, text = replayed(tmp_path)
    assert code == 11
    assert ["DISC-02[east-west]", "-", "failed", "NOT", "RECOMPUTED"] in [line.split() for line in text.splitlines()]
    assert "no stored verdict to compare with" in text


@pytest.mark.parametrize("made", [True, False])
def test_what_is_no_run_is_unfit(tmp_path: Path, made: bool) -> None:
    """A directory without a run or a history, or none at all, is refused in one sentence."""
    path = tmp_path / "x"
    if made:
        path.mkdir()
    with pytest.raises(EnvironmentUnfit, match="neither a run nor a case of one"):
        replayed(path)
