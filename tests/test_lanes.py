"""Cases side by side: as many as may, reported in order, each with its own end; one that goes wrong costs no other."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from meshproof.fixtures.verdicts import Verdict
from tests.paper_suite import BREAKS, CONFTEST, HOLDS, PREAMBLE
from tests.test_plugin import cases, left_by, replayed, suite

pytest_plugins = ["pytester"]
__all__ = ["suite"]

TRIAL_FIXTURE = """
import threading, time
def trial(request):
    from meshproof.fixtures.judging import TRIAL
    return request.node.stash[TRIAL]
trial.__module__ = "meshproof.paper"  # as one of ours: it may have the request and still be made ahead
trial = pytest.fixture(trial)
"""

MEET = """
import threading
gate = threading.Barrier({parties})
@requirement("DISC-01")
def test_meet(pair, ask):
    gate.wait(20)
    claim(ask(pair.far.name), pair.far.name)
"""

COUNT = """
import threading, time
inside, most, order, lock = [], [], [], threading.Lock()
def busy(name, seconds=0.05):
    with lock:
        inside.append(name); order.append(name); most.append(len(inside))
    time.sleep(seconds)
    with lock:
        inside.remove(name)
"""

HERE = "HERE = os.path.dirname(__file__)  # a case that hangs undoes what it did when the test is over\n"


def run(
    suite: pytest.Pytester, body: str, *arguments: str, fleet: str = "east-west", conftest: str = ""
) -> pytest.RunResult:
    suite.makeconftest(CONFTEST + TRIAL_FIXTURE + conftest)
    suite.makepyfile(test_paper=PREAMBLE + HERE + body)
    return suite.runpytest("--fleet", fleet, "--seed", "7", *arguments)


def verdicts(suite: pytest.Pytester) -> dict[str, Verdict]:
    return {id: case.verdict for id, case in cases(left_by(suite)).items()}


def test_cases_run_at_the_same_time(suite: pytest.Pytester) -> None:
    """Six cases that wait for each other all end, by default; one after another they would not."""
    assert run(suite, MEET.format(parties=6), fleet="a-b-c").ret == 0
    alone = MEET.format(parties=6).replace("wait(20)", "wait(0.2)")
    assert run(suite, alone, "--at-once", "5", fleet="a-b-c").ret == 11


def test_reports_come_in_order(suite: pytest.Pytester) -> None:
    """The first case is reported first although it ends last."""
    body = """
import threading
others = threading.Semaphore(0)
@requirement("DISC-01")
def test_slow_first(pair, ask):
    if pair.near.name == "a" and pair.far.name == "b":
        for _ in range(5):
            assert others.acquire(timeout=20)
    claim(ask(pair.far.name), pair.far.name)
    others.release()
"""
    result = run(suite, body, "-v", fleet="a-b-c")
    assert result.ret == 0
    lines = [line for line in result.outlines if "PASSED" in line]
    assert [line.split("[")[1].split("]")[0] for line in lines] == ["a-b", "a-c", "b-a", "b-c", "c-a", "c-b"]


LONG = """
@requirement("DISC-02")
def test_short(pair, ask):
    busy("short")
    claim(ask(pair.far.name), pair.far.name)
@requirement("DISC-01", long=True)
def test_long(pair, ask):
    busy("long")
    claim(ask(pair.far.name), pair.far.name)
def test_order():
    assert order == {expected}
"""


def test_long_cases_begin_first(suite: pytest.Pytester) -> None:
    """Long ones begin before others that are reported before them; one after another they keep their places."""
    early = COUNT + LONG.replace("{expected}", "['long'] * 2 + ['short'] * 2")
    assert run(suite, early, "--at-once", "2").ret == 0
    kept = COUNT + LONG.replace("{expected}", "['short'] * 2 + ['long'] * 2")
    assert run(suite, kept, "--at-once", "1").ret == 0


def test_one_after_another(suite: pytest.Pytester) -> None:
    """With --at-once 1 no two cases ever run at the same time."""
    body = (
        COUNT
        + HOLDS.replace("    claim(", "    busy(1)\n    claim(")
        + "\ndef test_max():\n    assert max(most) == 1\n"
    )
    result = run(suite, body, "--at-once", "1", fleet="a-b-c")
    assert result.ret == 0
    result.assert_outcomes(passed=7)


def test_a_fixture_with_a_teardown_makes_a_case_run_alone(suite: pytest.Pytester) -> None:
    """Its fixtures are up exactly while it runs, nothing else does, and all others still run side by side."""
    conftest = """
@pytest.fixture
def pods():
    up = ["up"]
    yield up
    up.clear()
"""
    body = (
        COUNT
        + HOLDS.replace("    claim(", "    busy('other')\n    claim(")
        + """
@requirement("DISC-02")
def test_alone(pair, ask, pods):
    busy("alone")
    assert pods == ["up"] and most[-1] == 1
    claim(ask(pair.far.name), pair.far.name)

@requirement("DISC-03")
def test_later(pair, ask):
    busy("other")
    claim(ask(pair.far.name), pair.far.name)

def test_max():
    assert max(most) > 1
"""
    )
    result = run(suite, body, fleet="a-b-c", conftest=conftest)
    assert result.ret == 0
    result.assert_outcomes(passed=19)


LOOK = """
import threading
from meshproof.fixtures.shared import Once
acted = threading.Semaphore(0)
def take():
    if not all(acted.acquire(timeout=20) for _ in range(6)):
        raise OSError("nobody acted")
    return True
once = Once(take)
def look(request):
    from meshproof.fixtures.judging import TRIAL
    trial = request.node.stash[TRIAL]
    trial.looks.append(once)
    trial.begin.append(once)
look.__module__ = "meshproof.paper"
look = pytest.fixture(look)
@pytest.fixture
def act():
    return acted.release
"""

LOOKING = HOLDS.replace("(pair, ask)", "(pair, ask, look)")


def test_who_only_waits_takes_no_place(suite: pytest.Pytester) -> None:
    """With two places, one case takes the look that six need; the five others leave the second place to who acts."""
    acting = HOLDS.replace("DISC-01", "DISC-02").replace("(pair, ask):", "(pair, ask, act):\n    act()")
    body = LOOKING.replace("test_holds", "test_looks") + acting
    assert run(suite, body, "--at-once", "2", fleet="a-b-c", conftest=LOOK).ret == 0


def test_a_look_that_its_case_never_took_is_anothers(suite: pytest.Pytester) -> None:
    """The first case falls over on its way to the look; the next one takes it, while others wait for what they saw."""
    conftest = """
import threading
from meshproof.fixtures.shared import Once
seen, once = threading.Semaphore(0), Once(lambda: True)
def look(request):
    from meshproof.fixtures.judging import TRIAL
    trial = request.node.stash[TRIAL]
    def stumble():
        if request.node.name == "DISC-01[a-b]":
            raise OSError("stumbled")
    trial.looks.append(once)
    trial.begin += [stumble, once]
    return seen.release
look.__module__ = "meshproof.paper"
look = pytest.fixture(look)
@pytest.fixture
def wait():
    return lambda: seen.acquire(timeout=20)
"""
    looking = HOLDS.replace("(pair, ask):", "(pair, ask, look):\n    look(2)").replace("test_holds", "test_looks")
    waiting = HOLDS.replace("DISC-01", "DISC-02").replace("(pair, ask):", "(pair, ask, wait):\n    assert wait()")
    assert run(suite, looking + waiting, "--at-once", "2", fleet="a-b-c", conftest=conftest).ret == 11
    assert [id for id, verdict in verdicts(suite).items() if verdict is not Verdict.PASSED] == ["DISC-01[a-b]"]


def test_a_look_that_fails_is_told_to_all(suite: pytest.Pytester) -> None:
    """It is not taken again, and nobody waits for it."""
    assert run(suite, LOOKING, fleet="a-b-c", conftest=LOOK.replace("timeout=20", "timeout=0.1")).ret == 11
    reasons = {case.reason for case in cases(left_by(suite)).values()}
    assert reasons == {"the case could not be set up: OSError: nobody acted"}


def test_an_exclusive_case_is_the_last_and_alone(suite: pytest.Pytester) -> None:
    """Wherever it stands, it begins when all others have ended, and no two of them overlap."""
    body = (
        COUNT
        + """
@requirement("DISC-02", exclusive=True)
def test_alone(pair, ask):
    busy("exclusive")
    assert order.count("other") == 6 and most[-1] == 1
    claim(ask(pair.far.name), pair.far.name)
"""
        + HOLDS.replace("    claim(", "    busy('other')\n    claim(")
    )
    assert run(suite, body, fleet="a-b-c").ret == 0
    assert list(left_by(suite).planned)[-1].startswith("DISC-02")


HANGS = """
import threading
@requirement("DISC-01")
def test_hang(pair, ask, trial):
    trial.undo.callback(lambda: open(f"{HERE}/undone-{pair.near.name}", "w").close())
    if pair.near.name == "east":
        HOW
    claim(ask(pair.far.name), pair.far.name)
"""


@pytest.mark.slow
def test_a_case_that_hangs_is_given_up(suite: pytest.Pytester) -> None:
    """It is unknown after its limit, live and replayed, the others are judged, and the run ends and names it."""
    # If it were waited for, it would end well.
    assert run(suite, HANGS.replace("HOW", "threading.Event().wait(60)"), "--case-seconds", "1").ret == 11
    assert verdicts(suite) == {"DISC-01[east-west]": Verdict.UNKNOWN, "DISC-01[west-east]": Verdict.PASSED}
    case = cases(left_by(suite))["DISC-01[east-west]"]
    assert case.reason == "it did not end within 1 s, and was given up"
    assert replayed(suite, case) is Verdict.UNKNOWN
    assert any("still hangs" in note for note in left_by(suite).notes)


@pytest.mark.slow
def test_a_case_that_is_late_still_cleans_up(suite: pytest.Pytester) -> None:
    """Given up, it falls over at its next line and undoes what it did; what it says then changes nothing."""
    assert run(suite, HANGS.replace("HOW", "import time; time.sleep(2)"), "--case-seconds", "1").ret == 11
    assert verdicts(suite)["DISC-01[east-west]"] is Verdict.UNKNOWN
    assert {path.name for path in suite.path.glob("undone-*")} == {"undone-east", "undone-west"}


def test_a_failed_clean_up_outshines_a_kept_promise(suite: pytest.Pytester) -> None:
    """What a case registered is undone last first; if that fails, passed becomes unknown and failed stays failed."""
    stuck = """
    trial.undo.callback(lambda: print("first registered, last undone"))
    def stuck():
        raise OSError("stuck")
    trial.undo.callback(stuck)
    claim("""
    body = (HOLDS + BREAKS).replace("(pair, ask)", "(pair, ask, trial)").replace("    claim(", stuck)
    result = run(suite, body, "-rA", "-k", "east-west")
    assert result.ret == 1
    assert "last undone" in str(result.stdout)
    found = cases(left_by(suite))
    assert found["DISC-01[east-west]"].reason == "cleaning up after the case failed: OSError: stuck"
    assert replayed(suite, found["DISC-01[east-west]"]) is Verdict.UNKNOWN
    assert found["DISC-02[east-west]"].verdict is Verdict.FAILED
    assert "besides: cleaning up after the case failed" in found["DISC-02[east-west]"].message


def test_what_fails_before_a_body_is_unknown(suite: pytest.Pytester) -> None:
    """What a fixture has to do in the case's thread goes wrong: the case could not be set up, and never ran."""
    conftest = """
def pods(request):
    from meshproof.fixtures.judging import TRIAL
    def place():
        raise OSError("no room")
    request.node.stash[TRIAL].begin.append(place)
pods.__module__ = "meshproof.paper"
pods = pytest.fixture(pods)
"""
    assert run(suite, HOLDS.replace("(pair, ask)", "(pair, ask, pods)"), conftest=conftest).ret == 11
    assert {case.reason for case in cases(left_by(suite)).values()} == {
        "the case could not be set up: OSError: no room"
    }


def test_results_are_on_disk_before_they_are_reported(suite: pytest.Pytester) -> None:
    """Killed while the first case is still under way, the run has left the results of all that had ended."""
    body = """
@requirement("DISC-01")
def test_kill(pair, ask):
    if pair.near.name == "a" and pair.far.name == "b":
        while len(open("runs/latest/results.jsonl").readlines()) < 5:
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    claim(ask(pair.far.name), pair.far.name)
"""
    suite.makepyfile(test_paper=PREAMBLE + HERE + body)
    assert suite.runpytest_subprocess("--fleet", "a-b-c").ret == -signal.SIGKILL
    assert left_by(suite).unreported() == ("DISC-01[a-b]",)


STOPPING = """
import threading
gate = threading.Barrier(6)
@requirement("DISC-01")
def test_stop(pair, ask, trial):
    trial.undo.callback(lambda: open(f"{HERE}/undone-{pair.near.name}-{pair.far.name}", "w").close())
    gate.wait(20)
    if pair.near.name == "c" and pair.far.name == "b":
        HOW
    while True:
        trial.recorder.event("still here")
        threading.Event().wait(0.05)
"""
ENDINGS = {
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT)", (), 11),
    "pytest.exit": ("pytest.exit('enough', returncode=3)", (), 11),
}


@pytest.mark.parametrize(("how", "arguments", "code"), ENDINGS.values(), ids=list(ENDINGS))
def test_a_run_that_ends_early_cleans_up(
    suite: pytest.Pytester, how: str, arguments: tuple[str, ...], code: int
) -> None:
    """However it is ended, at once: everything under way undoes what it did and is unknown, and nothing is missing."""
    suite.makeconftest(CONFTEST + TRIAL_FIXTURE)
    suite.makepyfile(test_paper=PREAMBLE + HERE + STOPPING.replace("HOW", how))
    result = suite.runpytest_subprocess("--fleet", "a-b-c", *arguments, timeout=60)
    assert result.ret == code
    assert len(list(suite.path.glob("undone-*"))) == 6
    assert set(verdicts(suite).values()) == {Verdict.UNKNOWN}


def test_the_first_failure_ends_the_rest(suite: pytest.Pytester) -> None:
    """With -x what is under way when a red case is reported is given up and cleaned up before its fixtures go."""
    body = """
@requirement("DISC-01")
def test_stop(pair, ask, trial):
    trial.undo.callback(lambda: open(f"{HERE}/undone-{pair.near.name}-{pair.far.name}", "w").close())
    if pair.near.name == "a" and pair.far.name == "b":
        claim(ask("a"), "b")
    while True:
        trial.recorder.event("still here")
        threading.Event().wait(0.05)
"""
    assert run(suite, "import threading\n" + body, "-x", fleet="a-b-c").ret == 1
    assert len(list(suite.path.glob("undone-*"))) == 6
    found = verdicts(suite)
    assert found.pop("DISC-01[a-b]") is Verdict.FAILED
    assert set(found.values()) == {Verdict.UNKNOWN}


MEDDLERS = {
    "raises before": "def pytest_runtest_call(item):\n    raise RuntimeError('meddled')\n",
    "raises after": (
        "@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_call(item):\n    yield\n    raise RuntimeError('meddled')\n"
    ),
    "skips at setup": "def pytest_runtest_setup(item):\n    pytest.skip('meddled')\n",
    "raises at teardown": "def pytest_runtest_teardown(item):\n    raise RuntimeError('meddled')\n",
}


@pytest.mark.parametrize("conftest", MEDDLERS.values(), ids=list(MEDDLERS))
def test_a_hook_around_a_case_makes_nothing_green(suite: pytest.Pytester, conftest: str) -> None:
    """Somebody else's hook that fails or skips around a case leaves it unknown, live and replayed."""
    assert run(suite, HOLDS, conftest=conftest).ret == 11
    found = cases(left_by(suite))
    assert {case.verdict for case in found.values()} == {Verdict.UNKNOWN}
    assert {replayed(suite, case) for case in found.values()} == {Verdict.UNKNOWN}


def test_a_hook_that_swallows_makes_nothing_green(suite: pytest.Pytester) -> None:
    """A broken promise stays failed when a hook of somebody else swallows what it raised."""
    conftest = """
@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    except BaseException:
        return None
"""
    result = run(suite, BREAKS, conftest=conftest)
    assert result.ret == 1
    result.assert_outcomes(failed=2)


@pytest.mark.parametrize("option", ["--setup-only", "--setup-plan"])
def test_fixtures_alone_run_no_case(suite: pytest.Pytester, option: str) -> None:
    """pytest's options that make fixtures only run no body and give no verdict."""
    assert run(suite, HOLDS + "    open('ran', 'w')\n", option).ret == 11
    assert not (suite.path / "ran").exists()


@pytest.mark.slow
def test_two_runs_take_turns_where_one_needs_the_fleet(suite: pytest.Pytester) -> None:
    """An exclusive case waits until another run on the same fleet has ended its ordinary ones."""
    suite.makepyfile(
        test_ordinary=PREAMBLE
        + """
import pathlib, time
@requirement("DISC-01")
def test_long(pair, ask):
    pathlib.Path("begun").touch()
    time.sleep(3)
    pathlib.Path(f"ended-{pair.near.name}").touch()
    claim(ask(pair.far.name), pair.far.name)
"""
    )
    suite.makepyfile(
        test_alone=PREAMBLE
        + """
import pathlib
@requirement("DISC-02", exclusive=True)
def test_alone(pair, ask):
    assert pathlib.Path("ended-east").exists() and pathlib.Path("ended-west").exists()
    claim(ask(pair.far.name), pair.far.name)
"""
    )
    first = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--fleet", "east-west", "test_ordinary.py"],
        cwd=suite.path,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 30
    while not (suite.path / "begun").exists() and time.monotonic() < until:
        assert first.poll() is None
    result = suite.runpytest("--fleet", "east-west", "test_alone.py")
    assert first.wait() == 0
    assert result.ret == 0
    assert "waiting: others still use the fleet" in str(result.stdout)
