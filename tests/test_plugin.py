"""The pytest plugin, against a fleet that is only a value: what is collected, how it is judged, and how a run ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# All of the plugin is loaded here, because pytester forgets what an inner run was the first to import.
from meshproof.fixtures import borrowed as _loaded  # noqa: F401 - see above
from meshproof.fixtures import judging, results
from meshproof.fixtures.results import CaseResult, RunResult
from meshproof.fixtures.verdicts import Verdict
from tests.paper_suite import BREAKS, CONFTEST, HOLDS, PREAMBLE

pytest_plugins = ["pytester"]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder whose conftest brings a fleet of paper."""
    # Neither is our business here, and one takes seconds to import, the other half a second to write its files.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:meshproof-report")
    pytester.makeconftest(CONFTEST)
    return pytester


def run(suite: pytest.Pytester, cases: str, *arguments: str, fleet: str = "east-west") -> pytest.RunResult:
    suite.makepyfile(test_paper=PREAMBLE + cases)
    return suite.runpytest("--fleet", fleet, "--seed", "7", *arguments)


def left_by(suite: pytest.Pytester) -> RunResult:
    return results.load(suite.path / "runs" / "latest")


def cases(run: RunResult) -> dict[str, CaseResult]:
    """The cases of this suite: a promise that it has no case for is listed in the run without a node id."""
    return {case.id: case for case in run.cases if case.nodeid}


def only(suite: pytest.Pytester) -> CaseResult:
    found = cases(left_by(suite))
    return found["DISC-01[east-west]"]


def test_without_a_fleet_the_plugin_only_adds_its_option(pytester: pytest.Pytester) -> None:
    """Without --fleet somebody's own fixtures and options of the same names work, and nothing of ours is imported."""
    pytester.makeconftest("""
        import pytest
        def pytest_addoption(parser):
            parser.addoption("--seed"); parser.addoption("--runs-dir")
        @pytest.fixture
        def pair():
            return 1
    """)
    pytester.makepyfile("""
        import sys
        def test_mine(pair):
            assert pair == 1
            ours = {name for name in sys.modules if name.startswith("meshproof.fixtures.")}
            assert ours == {"meshproof.fixtures.hooks", "meshproof.fixtures.plugin"}
    """)
    pytester.runpytest_subprocess("--seed", "7").assert_outcomes(passed=1)
    assert not (pytester.path / "runs").exists()


def test_the_plugin_is_cheap_to_import() -> None:
    """What every pytest run on the machine imports is the plugin, its hooks and what pytest has loaded anyway."""
    code = (
        "import pytest, sys; before = set(sys.modules); import meshproof.fixtures.plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "kubernetes" not in printed
    assert "yaml" not in printed
    assert [name for name in eval(printed) if name.startswith("meshproof.")] == [
        "meshproof.fixtures",
        "meshproof.fixtures.hooks",
        "meshproof.fixtures.plugin",
    ]


def test_cases_without_a_fleet_are_refused(suite: pytest.Pytester) -> None:
    """Plain pytest over a suite says that it needs a fleet instead of failing case by case."""
    suite.makepyfile(test_paper=PREAMBLE + HOLDS)
    result = suite.runpytest()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*need a fleet*--fleet NAME*"])


def test_a_case_is_named_by_its_promise_and_pair(suite: pytest.Pytester) -> None:
    """One item for every ordered pair, named DISC-01[near-far]; node id and -k select by that name."""
    result = run(suite, HOLDS, "--collect-only", "-q", fleet="a-b-c")
    pairs = ("a-b", "a-c", "b-a", "b-c", "c-a", "c-b")
    result.stdout.fnmatch_lines([f"test_paper.py::DISC-01[[]{pair}[]]" for pair in pairs])
    assert not (suite.path / "runs").exists()
    chosen = suite.runpytest("--fleet", "a-b-c", "--collect-only", "-q", "test_paper.py::DISC-01[c-a]")
    chosen.stdout.fnmatch_lines(["test_paper.py::DISC-01[[]c-a[]]", "1 test collected*"])
    matched = suite.runpytest("--fleet", "a-b-c", "--collect-only", "-q", "-k", "DISC-01[c-b]")
    matched.stdout.fnmatch_lines(["test_paper.py::DISC-01[[]c-b[]]", "1/6 tests collected*"])


def test_a_kept_promise_is_passed(suite: pytest.Pytester) -> None:
    """A claim that its history bears out is passed, and the run is green, complete and private."""
    assert run(suite, HOLDS).ret == 0
    left = left_by(suite)
    assert left.exit_code == 0
    assert left.seed == 7
    assert left.planned == ("DISC-01[east-west]", "DISC-01[west-east]")
    assert only(suite).verdict is Verdict.PASSED
    assert only(suite).pair == ("east", "west")
    assert list(only(suite).observed) == ["seconds until the cluster answers"]
    directory = (suite.path / "runs" / "latest").resolve()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / str(only(suite).history)).stat().st_mode & 0o777 == 0o600


def test_a_broken_promise_is_failed(suite: pytest.Pytester) -> None:
    """A claim that its history refutes is failed, exit code 1, with all four parts of the message."""
    result = run(suite, BREAKS, "-k", "east-west")
    assert result.ret == 1
    case = cases(left_by(suite))["DISC-02[east-west]"]
    assert case.verdict is Verdict.FAILED
    assert [part for part in ("promised:", "seen:", "evidence:", "again:") if part not in case.message] == []


def test_the_printed_command_runs_the_case_again(suite: pytest.Pytester) -> None:
    """The rerun command of a case, pasted into a shell, runs that one case with that seed."""
    run(suite, BREAKS)
    command = cases(left_by(suite))["DISC-02[west-east]"].rerun.replace("python -m", f"{sys.executable} -m")
    assert subprocess.run(command, shell=True, cwd=suite.path, capture_output=True).returncode == 1
    again = left_by(suite)
    assert again.planned == ("DISC-02[west-east]",)
    assert again.seed == 7


def test_a_rerun_prefix_is_followed_by_seed_and_selection(suite: pytest.Pytester) -> None:
    """With --rerun-command the printed command is that, plus the seed and a -k that means this case alone."""
    run(suite, HOLDS, "--rerun-command", "meshproof run conformance --fleet two")
    assert only(suite).rerun == "meshproof run conformance --fleet two --seed 7 -k 'DISC-01[east-west]'"


UNKNOWN = {
    "a case that asserts nothing": "    pass",
    "a plain assertion": "    assert False, 'no history'",
    "a case that falls over": "    raise RuntimeError('bug')",
    "a promise broken by hand": "    raise PromiseBroken(Judgement(Verdict.FAILED, 'x', 'y'), 'z')",
    "doubt after a kept promise": (
        "    claim(ask('west'), 'west'); raise CannotTell(Judgement(Verdict.UNKNOWN, 'x', 'y'), 'z')"
    ),
    "a fall after a kept promise": "    claim(ask('west'), 'west'); raise RuntimeError('bug')",
    "a skip by hand": "    pytest.skip('not today')",
    "an xfail by hand": "    pytest.xfail('not today')",
    "a control without a claim": (
        "    eventually(ask('west'), Match(Outcome.REACHED), within=1, in_a_row=3, name='c', role=CONTROL)"
    ),
}


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=list(UNKNOWN))
def test_what_shows_nothing_is_unknown(suite: pytest.Pytester, body: str) -> None:
    """Whatever a case does but record a claim and keep it is unknown, exit code 11, and a replay agrees."""
    assert run(suite, '@requirement("DISC-01")\ndef test_it(pair, ask):\n' + body, "-k", "east-west").ret == 11
    assert only(suite).verdict is Verdict.UNKNOWN
    assert only(suite).reason
    assert "again:" in only(suite).message
    assert replayed(suite, only(suite)) is Verdict.UNKNOWN


def replayed(suite: pytest.Pytester, case: CaseResult) -> Verdict:
    from meshproof.fixtures.checkers import check
    from meshproof.fixtures.history import load

    return check(load(suite.path / "runs" / "latest" / str(case.history))).verdict


def test_a_swallowed_failure_is_failed(suite: pytest.Pytester) -> None:
    """A case that catches its own broken promise does not get away with it."""
    body = """
@requirement("DISC-01")
def test_it(pair, ask):
    with pytest.raises(AssertionError):
        claim(ask("east"), "west")
"""
    assert run(suite, body, "-k", "east-west").ret == 1
    assert only(suite).verdict is Verdict.FAILED


BROKEN_FIXTURES = {
    "in setup": ("raise OSError('no pods')\n    yield", "no pods"),
    "in teardown": ("yield\n    raise OSError('stuck')", "stuck"),
    "skipping": ("pytest.skip('not today')\n    yield", "not today"),
}


@pytest.mark.parametrize(("body", "cause"), BROKEN_FIXTURES.values(), ids=list(BROKEN_FIXTURES))
def test_a_broken_fixture_is_unknown(suite: pytest.Pytester, body: str, cause: str) -> None:
    """An error before or after a case is unknown, with its cause; a kept promise does not outshine it."""
    fixture = f"@pytest.fixture\ndef pods():\n    {body}\n"
    case = '@requirement("DISC-01")\ndef test_it(pair, ask, pods):\n    claim(ask(pair.far.name), pair.far.name)\n'
    assert run(suite, fixture + case, "-k", "east-west").ret == 11
    assert only(suite).verdict is Verdict.UNKNOWN
    assert cause in only(suite).reason
    assert replayed(suite, only(suite)) is Verdict.UNKNOWN


def test_a_failure_outlives_its_teardown(suite: pytest.Pytester) -> None:
    """A broken promise stays failed when cleaning up fails too, and the message tells both."""
    fixture = "@pytest.fixture\ndef pods():\n    yield\n    raise OSError('stuck')\n"
    body = fixture + BREAKS.replace("(pair, ask)", "(pair, ask, pods)")
    assert run(suite, body, "-k", "east-west").ret == 1
    case = cases(left_by(suite))["DISC-02[east-west]"]
    assert case.verdict is Verdict.FAILED
    assert "stuck" in case.message


@pytest.mark.parametrize("needs", ["", ", needs={Feature.SHARED}"], ids=["by its list", "by its list and its features"])
def test_what_a_fleet_is_known_to_lack_is_unsupported(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, needs: str
) -> None:
    """What docs/support.yaml lists for a fleet is unsupported with its reason, and alone makes no green run."""
    monkeypatch.setattr(judging, "reason_for", lambda id, **fleet: f"{id} is beyond {fleet['mesh']}")
    body = HOLDS.replace('"DISC-01"', '"DISC-01"' + needs)
    assert run(suite, body).ret == 5
    assert only(suite).verdict is Verdict.UNSUPPORTED
    assert only(suite).reason == "DISC-01 is beyond paper"
    assert run(suite, body, "--strict-verdicts").ret == 11


def test_a_missing_feature_that_nobody_explains_is_unknown(suite: pytest.Pytester) -> None:
    """A mesh that offers less than a case needs, without an entry in docs/support.yaml, is unknown and not neutral."""
    assert run(suite, HOLDS.replace('"DISC-01"', '"DISC-01", needs={Feature.SHARED}')).ret == 11
    assert only(suite).verdict is Verdict.UNKNOWN
    assert "does not offer shared, and docs/support.yaml has no entry" in only(suite).reason


def test_what_the_user_leaves_out_is_listed(suite: pytest.Pytester) -> None:
    """Deselected cases are excluded, listed and neutral."""
    assert run(suite, HOLDS + BREAKS, "-k", "DISC-01").ret == 0
    found = cases(left_by(suite))
    assert {id for id, case in found.items() if case.verdict is Verdict.EXCLUDED} == {
        "DISC-02[east-west]",
        "DISC-02[west-east]",
    }


def test_promises_without_a_case_are_not_built(suite: pytest.Pytester) -> None:
    """Every requirement that no case tests is in the results as not built."""
    run(suite, HOLDS)
    not_built = {case.id for case in left_by(suite).cases if case.verdict is Verdict.NOT_BUILT}
    assert "MCS-11" in not_built
    assert "DISC-01" not in not_built


@pytest.mark.parametrize("stop", ["-x", "interrupt"])
def test_what_was_planned_and_not_reported_is_unknown(suite: pytest.Pytester, stop: str) -> None:
    """A run that stops early, by -x or Ctrl-C, lists the rest as unknown and ends with 11."""
    body = '@requirement("DISC-02")\ndef test_stop(pair):\n    os.kill(os.getpid(), signal.SIGINT)\n' + HOLDS
    body += '\n@requirement("DISC-11")\ndef test_lacking(pair):\n    pass\n'
    if stop == "-x":
        body = body.replace("os.kill(os.getpid(), signal.SIGINT)", "pass")
    suite.makepyfile(test_paper=PREAMBLE + body)
    more = ["-x"] if stop == "-x" else []
    result = suite.runpytest_subprocess("--fleet", "east-west", "--at-once", "1", *more)
    assert result.ret == 11
    assert only(suite).verdict is Verdict.UNKNOWN
    assert "ended before it was reported" in only(suite).reason
    lacking = cases(left_by(suite))["DISC-11[east-west]"]
    assert (lacking.verdict, bool(lacking.reason)) == (Verdict.UNSUPPORTED, True)
    assert ("the run was interrupted before its end" in left_by(suite).notes) == (stop == "interrupt")


def test_a_killed_run_leaves_its_evidence(suite: pytest.Pytester) -> None:
    """After kill -9 the plan and every judged case are on disk, and the run says that it has not ended."""
    body = HOLDS + '\n@requirement("DISC-02")\ndef test_die(pair):\n    os.kill(os.getpid(), signal.SIGKILL)\n'
    suite.makepyfile(test_paper=PREAMBLE + body)
    result = suite.runpytest_subprocess("--fleet", "east-west", "--at-once", "1")
    assert result.ret == -signal.SIGKILL
    left = left_by(suite)
    assert left.exit_code is None
    assert [case.id for case in left.cases] == ["DISC-01[east-west]", "DISC-01[west-east]"]
    assert left.unreported() == ("DISC-02[east-west]", "DISC-02[west-east]")


UNFIT = {
    "not up": ("absent", (), "is not up"),
    "one cluster": ("east", (), "needs two clusters"),
    "twins": ("twin1-twin2", (), "are one cluster"),
    "a defect": ("broken-west", (), "shared_ignored"),
    "another defect": ("broken-west", ("--expect-defects", "other"), "shared_ignored"),
    "no defect": ("east-west", ("--expect-defects", "other"), "other"),
}


@pytest.mark.parametrize(("fleet", "arguments", "sentence"), UNFIT.values(), ids=list(UNFIT))
def test_unfit_ground_is_refused(suite: pytest.Pytester, fleet: str, arguments: tuple[str, ...], sentence: str) -> None:
    """A fleet that cannot carry a run is refused with one sentence and exit code 10, before anything is planned."""
    result = run(suite, HOLDS, *arguments, fleet=fleet)
    assert result.ret == 10
    assert sentence in str(result.stderr) + str(result.stdout)
    assert not (suite.path / "runs").exists()


def test_an_expected_defect_is_allowed(suite: pytest.Pytester) -> None:
    """`prove` runs on a fleet whose defect it has switched on itself."""
    assert run(suite, HOLDS, "--expect-defects", "shared_ignored", "-k", "broken-west", fleet="broken-west").ret == 0


REFUSED = {
    "an unknown id": (HOLDS.replace("DISC-01", "DISC-99"), "no requirement 'DISC-99'"),
    "a skip mark": ("@pytest.mark.skip" + HOLDS, "is marked skip"),
    "an xfail mark": ("@pytest.mark.xfail(strict=False)" + HOLDS, "is marked xfail"),
    "no promise": ("def test_it(pair):\n    pass\n", "states no promise"),
    "two cases of one name": (HOLDS + HOLDS.replace("test_holds", "test_too"), "two cases are called"),
}


@pytest.mark.parametrize(("body", "sentence"), REFUSED.values(), ids=list(REFUSED))
def test_what_could_vanish_in_silence_is_refused(suite: pytest.Pytester, body: str, sentence: str) -> None:
    """A case that names no known promise, or is left out by hand, stops the run with pytest's own codes."""
    result = run(suite, body)
    assert result.ret in (2, 4)
    assert sentence in str(result.stdout) + str(result.stderr)


def test_two_runs_in_one_second_have_a_directory_each(tmp_path: Path) -> None:
    """Run directories never collide, and `latest` points at the newest."""
    from datetime import UTC, datetime

    from meshproof.fixtures.rundir import make_run_directory

    second = datetime(2026, 11, 22, 4, 35, tzinfo=UTC)
    first, other = (make_run_directory(tmp_path / "runs", second) for _ in range(2))
    assert first != other
    assert (tmp_path / "runs" / "latest").resolve() == other
    assert os.readlink(tmp_path / "runs" / "latest") == other.name


def test_the_history_names_its_case(suite: pytest.Pytester) -> None:
    """The first line of a case's history is the case itself, with pair, profile, seed and fleet."""
    run(suite, HOLDS)
    first = json.loads((suite.path / "runs" / "latest" / str(only(suite).history)).read_text().splitlines()[0])
    assert (first["id"], first["pair"], first["profile"], first["seed"], first["fleet"]) == (
        "DISC-01[east-west]",
        ["east", "west"],
        "cilium",
        7,
        "east-west",
    )
