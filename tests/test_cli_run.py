"""`meshproof run`: the fleet is left as it was found, and the exit code is pytest's."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from meshproof.cli import main, run
from meshproof.cli.exits import Stopped, stoppable
from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import provider as embedded
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
    assert Path(command[3]).samefile(Path(fleetfile.__file__).parents[1] / "conformance")
    text = " ".join(command)
    assert f"--fleet {fleetfile.resolve('two')} --runs-dir r" in text
    assert "--rerun-command meshproof run conformance --fleet two" in text
    assert text.endswith("--seed 7 -k DISC-04 --strict-verdicts -x --fleet")


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


def test_an_interrupted_pytest_gets_time_to_report(tmp_path: Path) -> None:
    """pytest gets one SIGINT and is waited for; then the interruption goes on."""
    report = tmp_path / "report"
    program = (
        "import os, pathlib, signal, sys, time\n"
        "try:\n  os.kill(int(sys.argv[1]), signal.SIGINT); time.sleep(20)\n"
        "except KeyboardInterrupt:\n  pathlib.Path(sys.argv[2]).write_text('written')\n"
    )
    began = time.monotonic()
    with stoppable(), pytest.raises(Stopped) as caught:
        run._pytest([sys.executable, "-c", program, str(os.getpid()), str(report)])
    assert caught.value.number == signal.SIGINT
    assert report.read_text() == "written"
    assert time.monotonic() - began < 15
