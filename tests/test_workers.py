"""A run with pytest-xdist says what the same run without it says; a worker that dies hides nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.verdicts import Verdict
from tests.paper_suite import BREAKS, CONFTEST, HOLDS, PREAMBLE
from tests.test_lanes import TRIAL_FIXTURE
from tests.test_plugin import cases, left_by, replayed, suite

pytest_plugins = ["pytester"]
__all__ = ["suite"]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_worker_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker of the outer run is told by its environment would be believed by the inner run."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


MIXED = (
    HOLDS
    + BREAKS
    + """
@requirement("DISC-03")
def test_nothing(pair, ask):
    pass

@requirement("DISC-04", needs={Feature.SHARED})
def test_unexplained(pair):
    pass

@requirement("DISC-05", exclusive=True)
def test_exclusive(pair, ask):
    claim(ask(pair.far.name), pair.far.name)

@requirement("DISC-06")
def test_skips(pair, ask):
    pytest.skip("not today")

@requirement("DISC-07")
def test_left_out(pair, ask):
    pass

@requirement("LB-01")
def test_whole_fleet(ask):
    claim(ask("a"), "a")

def test_no_case():
    pass
"""
)


def run(suite: pytest.Pytester, body: str, *arguments: str, fleet: str = "a-b-c") -> pytest.RunResult:
    suite.makeconftest(CONFTEST + TRIAL_FIXTURE)
    suite.makepyfile(test_paper=PREAMBLE + body)
    return suite.runpytest_subprocess("--fleet", fleet, "--seed", "7", *arguments, timeout=120)


def timeless(case: CaseResult) -> CaseResult:
    """A result without what no two runs have in common."""
    cut = case.reason.partition(":")[0]
    return replace(case, seconds=0, at=0, history_sha256="", observed={}, message="", reason=cut)


def test_workers_change_no_verdict(suite: pytest.Pytester) -> None:
    """-n 0 and -n 4 say the same of the same cases, the left out among them, and end with the same exit code."""
    alone = run(suite, MIXED, "-n", "0", "-k", "not DISC-07")
    expected = left_by(suite)
    together = run(suite, MIXED, "-n", "4", "-k", "not DISC-07")
    found = left_by(suite)
    assert (alone.ret, together.ret) == (1, 1)
    assert found.planned == expected.planned
    assert [timeless(case) for case in found.cases] == [timeless(case) for case in expected.cases]
    assert (found.exit_code, found.seed, found.suites) == (expected.exit_code, expected.seed, expected.suites)
    for case in cases(found).values():
        if case.verdict is not Verdict.EXCLUDED:
            assert replayed(suite, case) is case.verdict or case.verdict is Verdict.UNSUPPORTED


WAYS = {
    "--tx": ("--dist", "load", "--tx", "2*popen"),
    "loadgroup": ("-n", "2", "--dist", "loadgroup"),
}


@pytest.mark.parametrize("arguments", WAYS.values(), ids=list(WAYS))
def test_however_workers_are_asked_for(suite: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """Every mode of xdist gives the cases their names and reports each once."""
    assert run(suite, HOLDS, *arguments, fleet="east-west").ret == 0
    left = left_by(suite)
    assert left.planned == ("DISC-01[east-west]", "DISC-01[west-east]")
    assert {case.verdict for case in cases(left).values()} == {Verdict.PASSED}


def test_workers_collect_nothing_twice(suite: pytest.Pytester) -> None:
    """--collect-only lists each case once, however many workers are asked for, and leaves nothing."""
    result = run(suite, HOLDS, "-n", "2", "--collect-only", "-q", fleet="east-west")
    assert result.outlines[:2] == ["test_paper.py::DISC-01[east-west]", "test_paper.py::DISC-01[west-east]"]
    assert "2 tests collected" in result.outlines[3]
    assert not (suite.path / "runs").exists()


IMPOSSIBLE = {
    "each": ("--dist", "each", "--tx", "2*popen"),
    "elsewhere": ("--dist", "load", "--tx", "ssh=elsewhere"),
}


@pytest.mark.parametrize("arguments", IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_workers_that_cannot_be_are_refused(suite: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """Every case twice, or histories on another host's clock, is a usage error before anything runs."""
    assert run(suite, BREAKS, *arguments).ret == 4
    assert not (suite.path / "runs").exists()


def test_the_cases_of_a_requirement_share_a_worker(suite: pytest.Pytester) -> None:
    """One worker runs all pairs of a requirement, the exclusive ones are the first worker's last, and all get some."""
    body = "".join(
        f'@requirement("DISC-{n:02}", exclusive={n == 1})\ndef test_{n}(pair, ask):\n'
        '    with open("who", "a") as who:\n'
        f'        print("DISC-{n:02}", os.environ["PYTEST_XDIST_WORKER"], file=who)\n'
        "    claim(ask(pair.far.name), pair.far.name)\n"
        for n in range(1, 6)
    )
    assert run(suite, body, "-n", "3").ret == 0
    lines = [line.split() for line in (suite.path / "who").read_text().splitlines()]
    workers = {id: {worker for other, worker in lines if other == id} for id, _ in lines}
    assert all(len(of) == 1 for of in workers.values())
    assert len(set.union(*workers.values())) == 3
    assert workers["DISC-01"] == {"gw0"}
    assert [id for id, worker in lines if worker == "gw0"][-6:] == ["DISC-01"] * 6


DYING = (
    HOLDS
    + BREAKS.replace('"DISC-02"', '"DISC-03"')
    + """
import threading
@requirement("DISC-02")
def test_dies(pair, ask):
    claim(ask(pair.far.name), pair.far.name)
    if pair.near.name == "c" and pair.far.name == "b":
        DIE
    threading.Event().wait(60)

@requirement("DISC-04")
def test_other(pair, ask):
    threading.Event().wait(1)
    claim(ask(pair.far.name), pair.far.name)
"""
)
DEATHS = {
    "kill -9, and a broken promise": ("os.kill(os.getpid(), signal.SIGKILL)", ("-n", "4"), 1),
    "exit": ("os._exit(0)", ("-n", "2", "-k", "not DISC-03"), 11),
}


@pytest.mark.parametrize(("how", "arguments", "code"), DEATHS.values(), ids=list(DEATHS))
def test_a_worker_that_dies_hides_nothing(
    suite: pytest.Pytester, how: str, arguments: tuple[str, ...], code: int
) -> None:
    """What it had not reported is unknown with the reason, nobody runs it again, and what others do is judged."""
    body = DYING.replace("DIE", how)
    assert run(suite, body, "--at-once", "24", *arguments).ret == code
    left = left_by(suite)
    assert len(left.planned) == (24 if code == 1 else 18)
    found = {id: case for id, case in cases(left).items() if id in left.planned}
    others = {case.verdict for case in found.values() if case.requirement in ("DISC-01", "DISC-04")}
    dead = {case.verdict for case in found.values() if case.requirement == "DISC-02"}
    assert (others, dead) == ({Verdict.PASSED}, {Verdict.UNKNOWN})
    worker = found["DISC-02[a-b]"].reason.partition(" ended before it was reported")[0]
    assert worker.startswith("worker gw")
    assert any(worker in note for note in left.notes)


def test_all_workers_dead_is_unknown(suite: pytest.Pytester) -> None:
    """When no worker is left every case is in the report, unknown."""
    body = HOLDS + "    os._exit(0)\n"
    assert run(suite, body, "-n", "2").ret == 11
    found = cases(left_by(suite))
    assert len(found) == 6
    assert {case.verdict for case in found.values()} == {Verdict.UNKNOWN}


def test_a_case_that_hangs_costs_its_worker_nothing(suite: pytest.Pytester) -> None:
    """Given up in a worker as in a lone process."""
    body = HOLDS + "    if pair.near.name == 'east':\n        import threading\n        threading.Event().wait(60)\n"
    assert run(suite, body, "-n", "2", "--case-seconds", "1", fleet="east-west").ret == 11
    found = cases(left_by(suite))
    assert found["DISC-01[east-west]"].reason == "it did not end within 1 s, and was given up"
    assert found["DISC-01[west-east]"].verdict is Verdict.PASSED


def test_workers_stop_at_the_first_failure(suite: pytest.Pytester) -> None:
    """-x ends all workers, and what they did not report is unknown."""
    body = (
        BREAKS
        + HOLDS
        + """
@requirement("DISC-03")
def test_slow(pair, ask):
    import time
    time.sleep(1)
    claim(ask(pair.far.name), pair.far.name)
"""
    )
    assert run(suite, body, "-n", "2", "-x", "--at-once", "2").ret == 1
    found = cases(left_by(suite))
    assert len(found) == 18
    assert Verdict.UNKNOWN in {case.verdict for case in found.values()}


BAD_SUITES = {
    "a module that does not import": ("import no_such_module\n", (), 2),
    "two cases of one name": (HOLDS + HOLDS.replace("test_holds", "test_too"), (), 4),
    "an unknown id": (HOLDS, ("-k", "DISC-99"), 4),
}


@pytest.mark.parametrize(("body", "arguments", "code"), BAD_SUITES.values(), ids=list(BAD_SUITES))
def test_workers_do_not_soften_a_refusal(
    suite: pytest.Pytester, body: str, arguments: tuple[str, ...], code: int
) -> None:
    """What a lone process refuses is refused with the same exit code."""
    assert run(suite, body, "-n", "2", *arguments).ret == code


def test_a_worker_with_other_cases_runs_none(suite: pytest.Pytester) -> None:
    """A worker whose collection is not the run's is given nothing, and its share is unknown."""
    body = """
import os
if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
    del test_holds
"""
    assert run(suite, HOLDS + BREAKS.replace("near", "far") + body, "-n", "2").ret == 11
    assert any("gw1 collected other cases" in note for note in left_by(suite).notes)
    assert {case.verdict for case in cases(left_by(suite)).values()} == {Verdict.PASSED, Verdict.UNKNOWN}


def test_a_run_with_workers_is_as_private(suite: pytest.Pytester) -> None:
    """Run, results and histories are for their owner only, and `latest` points at the run."""
    run(suite, HOLDS, "-n", "2")
    directory: Path = (suite.path / "runs" / "latest").resolve()
    assert [path.name for path in (suite.path / "runs").iterdir() if path.is_dir() and not path.is_symlink()] == [
        directory.name
    ]
    assert {path.stat().st_mode & 0o77 for path in [directory, *directory.rglob("*")]} == {0}
