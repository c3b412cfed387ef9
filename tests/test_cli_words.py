"""What a person types about requirements, claims and runs: spellings, suggestions, and what is told of each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from meshproof.cli import main
from meshproof.cli.casebook import Expected, cases_of, read
from meshproof.cli.naming import promise, run_folder
from meshproof.fixtures import results
from meshproof.fixtures.claims import ledger
from meshproof.fixtures.requirements import built_ids, catalogue
from tests.sample_runs import case, every_pair, one_of_each, run

KNOWN = [*catalogue(), *ledger().claims]
CASES = '''
SEEN = "seen from afar"

@requirement("DISC-04", mutates=True)
def test_it(pair, echo):
    """It is so."""
    gone, (a, b) = "the peer stops", pair
    both, owner = "the owner still uses both", echo.requests(b)
    eventually(owner, a, name="before", role=CONTROL)
    side_by_side(Question(a, name=gone), Question(b, c, both, 20, role=history.CONTROL))
    for_each(pair)
    percentile(samples, name=f"p95 of {pair} in {SEEN}")
    observe(owner, 3, name=SEEN)
    eventually(owner, a, name=gone)
    eventually(owner, a, name=unknown)

def for_each(pair):
    eventually(pair, name="helped")
    for_each(pair)
'''


@pytest.mark.parametrize("word", ["DISC-04", "disc-4", "disc4", "Disc04", "DISC-04[east-west]", " disc-004"])
def test_an_id_may_be_spelled_freely(word: str) -> None:
    """Case, dash, leading zeros and a pair make no difference."""
    assert promise(word, KNOWN) == "DISC-04"
    assert promise("c1", KNOWN) == "C01"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("DISC-99", "did you mean DISC-19?"),
        ("DICS-4", "did you mean DISC-04?"),
        ("L-3", "did you mean LB-03?"),
        ("POLL", "did you mean POL-01?"),
        ("C99", "did you mean C27?"),
        ("...", "see `meshproof list`"),
    ],
)
def test_a_wrong_id_is_4_with_the_nearest(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The area is put right before the number, and a number too high is answered with the last one."""
    assert main(["describe", word]) == 4
    assert capsys.readouterr().err == f"meshproof: there is no requirement or claim {word!r}; {hint}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--flet", "two"], "meshproof run: no such option --flet, did you mean --fleet? see"),
        (["run", "--fleet=two", "--sed=3"], "no such option --sed, did you mean --seed?"),
        (["run", "-x"], "no such option -x; what is meant for pytest goes after --; see meshproof run --help"),
        (["prove", "--defects", "a"], "no such option --defects, did you mean --defect?"),
        (["list", "--claim"], "no such option --claim, did you mean --claims?"),
        (["down", "--al"], "no such option --al, did you mean --all?"),
        (["list", "--run", "latest"], "--run goes with --claims"),
    ],
)
def test_a_mistyped_option_is_called_one(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An option nobody has is refused as such, with the nearest there is, in one line."""
    assert main(words) == 4
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1


def test_expectations_are_read_from_the_source() -> None:
    """Names by constant, variable, f-string or helper are found in order, each once, with their roles."""
    [found] = read(CASES, "conformance/test_x.py")
    assert (found.requirement, found.module, found.line, found.truth) == (
        "DISC-04",
        "conformance/test_x.py",
        5,
        "It is so.",
    )
    assert found.expectations == (
        Expected("before", "control"),
        Expected("the peer stops", "claim"),
        Expected("the owner still uses both", "control"),
        Expected("helped", "claim"),
        Expected("p95 of {pair} in seen from afar", "claim"),
        Expected("seen from afar", "observed"),
    )


@pytest.mark.parametrize("id", sorted(built_ids()))
def test_every_case_has_expectations_to_tell(id: str) -> None:
    """Of each tested requirement describe knows at least one claim or observation."""
    roles = {each.role for found in cases_of(id) for each in found.expectations}
    assert roles & {"claim", "observed"}


def test_describe_tells_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Source, observation, bounds, expectations, defects, claims and commands of a requirement are told."""
    assert main(["describe", "disc4"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("DISC-04 A cluster that stops sharing")
    for word in (
        "basis documented:",
        "source Cilium documentation",
        "observed requests from both sides",
        "bound service_seconds_max: 10 (",
        "in mesh reference",
        "claim the peer stops using the unshared backends",
        "defect legacy_shared_ignored must fail 'the peer stops using the unshared backends (io.cilium)'",
        "claim C10 A service marked global",
        "run meshproof run --fleet two -k DISC-04",
        "prove meshproof prove --defect legacy_shared_ignored",
    ):
        assert word in text


def test_describe_says_where_and_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not built names its work, what some fleet lacks the fleet and the reason; a run names one that has it."""
    assert main(["describe", "FO-01"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "status not built: it needs the chaos suite" in text
    assert "no profile has it yet" in text
    assert main(["describe", "DISC-19"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "not for profile cilium or aks-fleet: no document of this profile promises names in svc.fleet" in text
    assert main(["describe", "DISC-11", "-o", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["unsupported"][0]["where"] == "fewer than 3 clusters"
    assert content["run"] in ("", "meshproof run --fleet three -k DISC-11")


def test_a_claim_can_be_described(capsys: pytest.CaptureFixture[str]) -> None:
    """Documents, the reading of each profile, requirements and what is missing besides are told of a claim."""
    assert main(["describe", "c15"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in (
        "document M: Microsoft Learn",
        "profile cilium:",
        "tested by POL-04, DISC-07",
        "topology hub-and-spoke",
    ):
        assert word in text


def test_defects_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with the requirement that notices each, for `--defect`."""
    assert main(["list", "--defects"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^shared_ignored +DISC-04 ", told, re.MULTILINE)
    assert main(["list", "--defects", "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["defects"]) == len(told.splitlines()) - 1


def test_claims_are_listed_for_every_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """Each claim comes with its documents and, per profile, how many of its requirements are tested there."""
    assert main(["list", "--claims"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["CLAIM", "DOC", "cilium", "aks-fleet", "news"]
    assert [line.split()[0] for line in lines[1:-1]] == list(ledger().claims)
    assert "no promise" in next(line for line in lines if line.startswith("C12"))
    assert main(["list", "--claims", "-o", "json"]) == 0
    found = {each["id"]: each for each in json.loads(capsys.readouterr().out)["claims"]}
    assert found["C12"]["profiles"]["news"]["requirements"].keys() == {"DISC-19"}
    assert found["C12"]["profiles"]["cilium"]["promised"] is False
    assert "run" not in found["C12"]


def test_claims_of_a_run_have_a_standing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a run each claim has its standing there, why it is no better, and the verdicts it stands by."""
    monkeypatch.chdir(tmp_path)
    held = [each for id in ("DISC-01", "DISC-02") for each in every_pair(("east", "west"), id)]
    results.save(tmp_path / "runs/latest", run(*held, case("DISC-03")))
    assert main(["list", "--claims", "--run", "latest"]) == 0
    lines = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert (lines["C10"], lines["C11"], lines["C12"]) == ("in-part", "held", "not-promised")
    assert main(["list", "--claims", "--run", "runs/latest", "-o", "json"]) == 0
    found = {each["id"]: each["run"] for each in json.loads(capsys.readouterr().out)["claims"]}
    assert found["C11"]["verdicts"] == {"DISC-01": "passed", "DISC-02": "passed"}


@pytest.mark.parametrize("verb", ["replay", "report"])
def test_a_run_may_be_named_freely(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, `latest`, a name below runs and a path all mean a run; what is none is 10."""
    monkeypatch.chdir(tmp_path)
    results.save(tmp_path / "runs/2026-11-22T04-35-00Z", one_of_each())
    (tmp_path / "runs/latest").symlink_to("2026-11-22T04-35-00Z")
    codes = {main([verb, *words]) for words in ([], ["latest"], ["2026-11-22T04-35-00Z"], ["runs/latest"])}
    assert codes <= {0, 11}
    capsys.readouterr()
    assert main([verb, "nowhere"]) == 10
    assert run_folder("nowhere") == Path("nowhere")


def test_replay_takes_its_run_either_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option says the same as the word after the command, and both at once are refused."""
    results.save(tmp_path / "run", run(exit_code=5))
    assert main(["replay", str(tmp_path / "run")]) == main(["replay", "--verdicts", str(tmp_path / "run")]) == 11
    assert main(["replay", str(tmp_path / "run"), "--verdicts", str(tmp_path / "run")]) == 4
