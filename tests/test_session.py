"""However a run is started, steered or cut short: no case vanishes, and no exit code says more than the run."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from meshproof.fixtures import results
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.stalls import Stall
from meshproof.fixtures.verdicts import Verdict
from tests.paper_suite import BREAKS, CONFTEST, HOLDS, PREAMBLE
from tests.test_plugin import cases, left_by, suite

pytest_plugins = ["pytester"]
__all__ = ["suite"]

BOTH = {"DISC-02[east-west]", "DISC-02[west-east]"}


def run(suite: pytest.Pytester, body: str, *arguments: str, conftest: str = "") -> pytest.RunResult:
    suite.makeconftest(CONFTEST + conftest)
    suite.makepyfile(test_paper=PREAMBLE + body)
    # A conftest that bends a module of ours must bend it in a process of its own.
    start = suite.runpytest_subprocess if "results.save =" in conftest else suite.runpytest
    return start("--fleet", "east-west", "--seed", "7", *arguments)


LEFT_OUT = {
    "by node id": ("", ("test_paper.py::DISC-01[east-west]",), {"DISC-01[west-east]"} | BOTH),
    "by a foreign hook": (
        "\ndef pytest_collection_modifyitems(items):\n    items[:] = items[:1]\n",
        (),
        {"DISC-01[west-east]"} | BOTH,
    ),
    "by --deselect": ("", ("--deselect", "test_paper.py::DISC-02"), BOTH),
}


@pytest.mark.parametrize(("conftest", "arguments", "absent"), LEFT_OUT.values(), ids=list(LEFT_OUT))
def test_a_case_left_out_is_listed(
    suite: pytest.Pytester, conftest: str, arguments: tuple[str, ...], absent: set[str]
) -> None:
    """However a case was left out, the run lists it as excluded."""
    assert run(suite, HOLDS + BREAKS, *arguments, conftest=conftest).ret == 0
    found = cases(left_by(suite))
    assert {id for id, case in found.items() if case.verdict is Verdict.EXCLUDED} == absent


def test_a_module_left_out_is_listed(suite: pytest.Pytester) -> None:
    """A promise that the suite tests, in a module that was not given, is excluded and never just absent."""
    run(suite, HOLDS)
    promises = {case.id: case for case in left_by(suite).cases}
    assert promises["DISC-04"].verdict is Verdict.EXCLUDED
    assert promises["DISC-04"].reason.startswith("the suite tests it")


NO_CASE = {
    "another name": ("", ("-o", "python_functions=test_other"), 2),
    "a function by another name": (HOLDS.replace("test_holds", "holds"), (), 2),
    "a class": ('@requirement("DISC-01")\nclass TestIt:\n    def test_it(self):\n        pass\n', (), 2),
    "only tests that are no cases": ("def test_mine():\n    pass\n", (), 5),
}


@pytest.mark.parametrize(("body", "arguments", "code"), NO_CASE.values(), ids=list(NO_CASE))
def test_a_run_without_its_cases_is_never_green(
    suite: pytest.Pytester, body: str, arguments: tuple[str, ...], code: int
) -> None:
    """A promise that pytest would not collect is refused, and a run in which no case ran is not 0."""
    assert run(suite, body or HOLDS, *arguments).ret == code


@pytest.mark.parametrize("part", ["run", "collection", "judging", "fixtures"])
def test_no_part_of_the_plugin_can_be_taken_away(suite: pytest.Pytester, part: str) -> None:
    """-p no: of what collects or judges is a usage error, not a run without it."""
    assert run(suite, HOLDS, "-p", f"no:meshproof-{part}").ret == 4


UNKNOWN_IDS = {
    "too high": ("DISC-99", "DISC-99 (did you mean DISC-"),
    "in small letters": ("disc-99[east-west]", "disc-99 (did you mean DISC-"),
    "a digit short": ("DISC-1 and not LB-4", "LB-4 (did you mean LB-"),
    "an area that is none": ("DICS-01", "DICS-01 (did you mean DISC-01?)"),
}


@pytest.mark.parametrize(("expression", "sentence"), UNKNOWN_IDS.values(), ids=list(UNKNOWN_IDS))
def test_an_id_that_is_none_is_refused(suite: pytest.Pytester, expression: str, sentence: str) -> None:
    """-k with an id that the catalogue does not have is a usage error with the nearest one, before anything runs."""
    result = run(suite, HOLDS, "-k", expression)
    assert result.ret == 4
    assert sentence in str(result.stderr)
    assert not (suite.path / "runs").exists()


def test_a_part_of_an_id_is_none_of_these(suite: pytest.Pytester) -> None:
    """-k DISC-0, edge-1 or holds select as ever, and what selects nothing is not green."""
    assert run(suite, HOLDS, "-k", "DISC-0 and not edge-1").ret == 0
    assert run(suite, HOLDS, "-k", "edge-1").ret == 5


UNWRITTEN = {
    "a report writer": "\ndef pytest_meshproof_run_finished(run, run_dir, config):\n    raise OSError('disk full')\n",
    "the results": """
from meshproof.fixtures import results
saved, save = [], results.save
def fill(*given):
    saved.append(given)
    if len(saved) == 2:
        raise OSError("disk full")
    save(*given)
results.save = fill
""",
}


@pytest.mark.parametrize(("body", "code"), [(HOLDS, 3), (BREAKS, 1)], ids=["green", "red"])
@pytest.mark.parametrize("conftest", UNWRITTEN.values(), ids=list(UNWRITTEN))
def test_a_report_that_cannot_be_written_is_our_fault(
    suite: pytest.Pytester, conftest: str, body: str, code: int
) -> None:
    """Exit code 3 and a note: neither green, nor the 1 of a broken promise, unless one was broken."""
    result = run(suite, body, conftest=conftest)
    assert result.ret == code
    assert "disk full" in str(result.stderr)
    left = results.load(suite.path / "runs" / "latest")
    assert left.exit_code == code
    assert "disk full" in left.notes[-1]


def test_modules_that_do_not_import_cost_no_report(suite: pytest.Pytester) -> None:
    """With --continue-on-collection-errors what could be collected is judged, and the run is not green."""
    suite.makepyfile(test_bad="import no_such_module")
    assert run(suite, HOLDS, "--continue-on-collection-errors").ret == 11
    assert {case.verdict for case in cases(left_by(suite)).values()} == {Verdict.PASSED}


MOVED = {
    "a defect switched on": ("Ground(g.fleet, g.mesh, g.uids, g.versions, frozenset({'late'}))", "late"),
    "clusters replaced": ("Ground(g.fleet, g.mesh, {'east': 'x', 'west': 'y'}, g.versions, g.defects)", "replaced"),
}


@pytest.mark.parametrize(("later", "sentence"), MOVED.values(), ids=list(MOVED))
def test_ground_that_moved_carries_no_green_run(suite: pytest.Pytester, later: str, sentence: str) -> None:
    """A mesh or fleet that is another one when the run ends makes it unfit, exit code 10, with a note."""
    conftest = f"""
first, looks = pytest_meshproof_find_fleet, []
def pytest_meshproof_find_fleet(config, name):
    looks.append(name)
    g = first(config, name)
    return g if len(looks) <= 2 else {later}  # a run looks again once it has its place on the fleet
"""
    assert run(suite, HOLDS, conftest=conftest).ret == 10
    assert sentence in left_by(suite).notes[-1]


FOOTING = """
@pytest.fixture
def pods(request):
    from meshproof.fixtures.judging import TRIAL

    class Pods:
        def changed(self):
            return {becomes}

        def servers(self):
            return [("a cluster", "a pod")]

    request.node.stash[TRIAL].footing.append(Pods)
"""


@pytest.mark.parametrize(("becomes", "code"), [("''", 1), ("'east/echo-0 restarted'", 11), ("1 / 0", 11)])
def test_a_promise_broken_by_our_own_pods_is_unknown(suite: pytest.Pytester, becomes: str, code: int) -> None:
    """Failed needs a workload that is still the one that was placed; else the case is unknown, live and replayed."""
    body = FOOTING.format(becomes=becomes) + BREAKS.replace("(pair, ask)", "(pair, ask, pods)")
    assert run(suite, body, "-k", "east-west").ret == code
    case = cases(left_by(suite))["DISC-02[east-west]"]
    assert case.verdict is (Verdict.FAILED if code == 1 else Verdict.UNKNOWN)
    if code == 11:
        assert "the workload changed under the case" in case.reason


LOSES = """
from dataclasses import replace
from meshproof.fixtures.waits import consistently

@requirement("DISC-02")
def test_loses(pair, ask, pods):
    asker = ask(pair.far.name)
    batch = asker.batch
    def lossy(count):
        first, *others = batch(count)
        return [replace(first, outcome=Outcome.TIMED_OUT, by=None, end=first.due + 0.1), *others]
    asker.batch = lossy
    consistently(asker, Match(Outcome.REACHED), during=0.1, name="nothing is lost")
"""


@pytest.mark.parametrize(("seconds", "code"), [(0.0, 1), (9.0, 11)], ids=["awake", "stood still"])
def test_what_got_lost_while_our_pods_stood_still_is_unknown(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, seconds: float, code: int
) -> None:
    """The pods a case stands on are asked, and only what they say makes a broken promise one that nobody can judge."""
    asked: list[object] = []

    def ask_stalls(pods: Iterable[object], _: object, clock: RunClock) -> list[Stall]:
        asked.extend(pods)
        return [Stall("east/echo-0", clock.now() - seconds, clock.now() + seconds, seconds)]

    monkeypatch.setattr("meshproof.fixtures.trial.ask_stalls", ask_stalls)
    assert run(suite, FOOTING.format(becomes="''") + LOSES, "-k", "east-west").ret == code
    assert asked == [("a cluster", "a pod")]
    assert ("east/echo-0, which answers" in cases(left_by(suite))["DISC-02[east-west]"].reason) is (code == 11)
