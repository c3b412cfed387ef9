"""`meshproof run`: the fleet is left as it was found, and the exit code is pytest's."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from meshproof.cli import main, run
from meshproof.cli.exits import Stopped, stoppable
from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import provider as embedded
from meshproof.clusters.meshes.reference.mesh import ReferenceMesh
from meshproof.fixtures.fleetlock import MESH, FleetLock
from tests.fake_provider import FakeProvider


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeProvider:
    fake = FakeProvider()
    fake.asked = []
    monkeypatch.setattr(embedded, "EmbeddedProvider", lambda: fake)
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The pytest commands that `run` would have run; each ends with 1."""
    seen: list[list[str]] = []

    def remember(command: list[str]) -> int:
        seen.append(command)
        return 1

    monkeypatch.setattr(run, "_pytest", remember)
    return seen


def test_run_brings_a_fleet_up_and_takes_it_down(provider: FakeProvider, commands: list[list[str]]) -> None:
    """A fleet that was not up is up for the run only; the exit code is pytest's."""
    assert main(["run", "--fleet", "two"]) == 1
    assert provider.asked == ["up", "down two"]


@pytest.mark.parametrize("phase", ["ready", "starting"])
def test_run_leaves_a_fleet_that_was_up(provider: FakeProvider, commands: list[list[str]], phase: str) -> None:
    """A fleet that was up, or that somebody was bringing up, is used and left."""
    provider.phase = phase
    assert main(["run", "--fleet", "two"]) == 1
    assert "down two" not in provider.asked


def test_run_keeps_a_fleet_when_asked(provider: FakeProvider, commands: list[list[str]]) -> None:
    """--keep leaves the fleet up that the run brought up."""
    assert main(["run", "--fleet", "two", "--keep"]) == 1
    assert provider.asked == ["up"]


def test_run_takes_the_fleet_down_when_stopped(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM during the run: the fleet goes, and the code is 128 + 15."""

    def stopped(command: list[str]) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal must have been raised before")

    monkeypatch.setattr(run, "_pytest", stopped)
    assert main(["run", "--fleet", "two"]) == 143
    assert provider.asked == ["up", "down two"]
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_run_hands_everything_to_pytest(provider: FakeProvider, commands: list[list[str]]) -> None:
    """Options become the plugin's, and what follows -- is passed on as it is."""
    words = ["run", "conformance", "--fleet", "two", "--seed", "7", "-k", "DISC-04", "--strict", "--runs-dir", "r"]
    main([*words, "--", "-x", "--fleet"])
    (command,) = commands
    assert command[1:3] == ["-m", "pytest"]
    assert Path(command[5]).samefile(Path(fleetfile.__file__).parents[1] / "conformance")
    text = " ".join(command)
    assert f"--fleet {fleetfile.resolve('two')} --runs-dir r" in text
    assert "--rerun-command meshproof run conformance --fleet two" in text
    assert text.endswith("--seed 7 -k DISC-04 --strict-verdicts -x --fleet")


def test_workers_and_cases_at_once_are_passed_on(provider: FakeProvider, commands: list[list[str]]) -> None:
    """-n and --at-once go to pytest as they are, and are left out when nobody asked."""
    main(["run", "-n", "4", "--at-once", "6"])
    main(["run"])
    assert " ".join(commands[0]).endswith("-n 4 --at-once 6")
    assert not {"-n", "--at-once"}.intersection(commands[1])
    assert main(["run", "--at-once", "0"]) == main(["run", "-n", "-1"]) == 4


def test_a_defect_is_on_for_the_run_only(
    provider: FakeProvider,
    commands: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """--defect switches a defect on before the cases and off after them, and the rerun command says so."""
    provider.fleets = tmp_path
    switched: list[list[str]] = []
    monkeypatch.setattr(ReferenceMesh, "set_defects", lambda mesh, fleet, names, seconds: switched.append(list(names)))
    assert main(["run", "--fleet", "two", "--defect", "shared_ignored"]) == 1
    assert switched == [["shared_ignored"], []]
    text = " ".join(commands[0])
    assert "--rerun-command meshproof run conformance --fleet two --defect shared_ignored " in text
    assert text.endswith("--expect-defects shared_ignored")
    for verb in ("run", "prove"):
        assert main([verb, "--fleet", "two", "--defect", "shared_ingored"]) == 4
        assert "there is no defect 'shared_ingored'; did you mean shared_ignored" in capsys.readouterr().err
    assert provider.asked == ["up", "down two"]


def test_a_fleet_that_another_run_came_to_stays(
    provider: FakeProvider, commands: list[list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Who brought a fleet up does not take it away from under somebody else's run."""
    provider.fleets = tmp_path
    (tmp_path / "two").mkdir()
    FleetLock(tmp_path / "two" / MESH, print).together()
    assert main(["run", "--fleet", "two"]) == 1
    assert provider.asked == ["up"]
    assert "another run uses fleet two, so it stays up; end it with: meshproof down two" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "prove"])
def test_results_that_cannot_be_kept_bring_no_fleet_up(
    provider: FakeProvider, commands: list[list[str]], capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """A directory that cannot be made is told of before anything takes its time."""
    assert main([verb, "--fleet", "two", "--runs-dir", "/proc/none"]) == 10
    assert "results cannot be kept in /proc/none: [Errno 2]" in capsys.readouterr().err
    assert provider.asked == []
    assert commands == []


@pytest.mark.parametrize(
    ("expression", "code", "says"),
    [
        ("DISC-99", 4, "-k DISC-99: there is no requirement DISC-99, did you mean DISC-"),
        ("disc-01 or not DISC-99", 4, "there is no requirement DISC-99"),
        ("DISC-04[east-wset]", 4, "fleet two has no pair east-wset, did you mean east-west?"),
        ("DISC-04[a-b]", 4, "fleet two has no pair a-b, its pairs are east-west, west-east"),
        (" ", 4, "-k with nothing after it would choose every case"),
        ("FO-01 or (POL-02)", 5, "nothing would be tested: FO-01 is not built yet, it needs the chaos suite"),
    ],
)
def test_a_selection_that_can_match_nothing_brings_no_fleet_up(
    provider: FakeProvider,
    commands: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    expression: str,
    code: int,
    says: str,
) -> None:
    """An id or pair that does not exist, or nothing that is built: told at once, and nothing is created."""
    assert main(["run", "--fleet", "two", "-k", expression]) == code
    assert says in capsys.readouterr().err
    assert provider.asked == []
    assert commands == []


@pytest.mark.parametrize(
    "expression",
    ["disc-04", "DISC-04[east-west]", "DISC-0", "DISC-04[east", "discovery", "not FO-01", "FO-01 or DISC-01"],
)
def test_a_selection_that_may_match_is_pytests_to_judge(
    provider: FakeProvider, commands: list[list[str]], expression: str
) -> None:
    """Parts of ids, module names and negations go to pytest as they are."""
    assert main(["run", "--fleet", "two", "-k", expression]) == 1
    assert commands[0][-1] == expression


@pytest.mark.parametrize(
    ("record", "words", "code"),
    [
        ({"exit_code": 0}, [], 0),
        ({"exit_code": None}, [], 11),
        ({"exit_code": 1}, [], 11),
        (None, [], 11),
        (None, ["--", "--collect-only"], 0),
        (None, ["--", "--runs-dir", "elsewhere"], 0),
    ],
)
def test_a_zero_is_believed_only_when_a_run_says_so(
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    record: dict[str, int | None] | None,
    words: list[str],
    code: int,
) -> None:
    """A case that ends the process with 0 leaves a run that never ended, and that is no green."""

    def ended(command: list[str]) -> int:
        if record is not None:
            (tmp_path / "runs/new").mkdir(parents=True)
            (tmp_path / "runs/new/run.json").write_text(json.dumps(record))
        return 0

    earlier = tmp_path / "runs/earlier"
    earlier.mkdir(parents=True)
    (earlier / "run.json").write_text('{"exit_code": 0}')
    monkeypatch.setattr(run, "_pytest", ended)
    assert main(["run", "--fleet", "two", *words]) == code


@pytest.mark.parametrize("suite", ["chaos", "load"])
def test_a_suite_that_is_not_built_is_10(
    provider: FakeProvider, commands: list[list[str]], suite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A suite that does not exist yet is said so, and no fleet is brought up for it."""
    assert main(["run", suite]) == 10
    assert capsys.readouterr().err == f"meshproof: suite {suite} is not built yet; there is conformance\n"
    assert provider.asked == []
    assert commands == []


def test_a_killed_pytest_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """When pytest dies by a signal nothing was decided: 11."""
    assert run._pytest([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 11
    assert "SIGKILL" in capsys.readouterr().err


def test_cleaning_up_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """While an interrupted pytest cleans up a person hears what it does and that it goes on, and when it was ended."""
    monkeypatch.setattr(run, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(run, "STOP_SECONDS_MAX", 0.3)
    program = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(int(sys.argv[1]), signal.SIGINT); time.sleep(600)\n"
    )
    with stoppable(), pytest.raises(Stopped):
        run._pytest([sys.executable, "-c", program, str(os.getpid())])
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("stopped by SIGINT; cleaning up: running cases end")
    assert rest[0].endswith("still cleaning up")
    assert rest[-1].startswith("pytest is ended before it could clean up")


def test_an_interrupted_pytest_gets_time_to_report(tmp_path: Path) -> None:
    """pytest gets one SIGINT and is waited for; then the interruption goes on."""
    report = tmp_path / "report"
    program = (
        "import os, pathlib, signal, sys, time\n"
        "try:\n  os.kill(int(sys.argv[1]), signal.SIGINT); time.sleep(600)\n"
        "except KeyboardInterrupt:\n  pathlib.Path(sys.argv[2]).write_text('written')\n"
    )
    with stoppable(), pytest.raises(Stopped) as caught:
        run._pytest([sys.executable, "-c", program, str(os.getpid()), str(report)])
    assert caught.value.number == signal.SIGINT
    assert report.read_text() == "written"


def test_what_a_background_shell_ignores_pytest_does_not() -> None:
    """Started with `&`, SIGINT is ignored; the pytest of such a run must end by it all the same, or it is killed."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        script = "import signal; raise SystemExit(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
        with stoppable():
            assert run._pytest([sys.executable, "-c", script]) == 0
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
