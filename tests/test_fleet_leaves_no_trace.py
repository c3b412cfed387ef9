"""A fleet leaves the machine as it found it, however it ends: its raw state is compared, not our own lists."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshproof.clusters.embedded.provider import EmbeddedProvider, processes_of
from meshproof.clusters.places import fleet_directory
from tests import machine

pytestmark = pytest.mark.fleet

MOMENTS = 20
SEED = int(os.environ.get("MESHPROOF_TEST_SEED", "20261122"))
UP_SECONDS_USUAL = 9.0
SETTLE_SECONDS_MAX = 10.0
COMPILED = Path(sys.pycache_prefix or Path(__file__).parent / "__pycache__")
"""Where Python keeps what it compiles; a checkout may lie in a folder that is compared."""


def machine_without(tmp_path: Path) -> machine.Machine:
    """The machine, but for what the tests and Python itself write."""
    return machine.look(leave_out=[tmp_path.parent, COMPILED])


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[machine.Machine]:
    """The machine before the test, with meshproof's state in a folder of the test's own."""
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    yield machine_without(tmp_path)
    EmbeddedProvider().down("two", lambda line: None)


def meshproof(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "meshproof", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell that starts this test in the background has its children ignore Ctrl-C; a person's does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - one thread
    )


def assert_as(before: machine.Machine, tmp_path: Path, told: str) -> None:
    """The kernel takes namespaces apart in the background, so the comparison has a deadline, not a sleep."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while difference := before.difference(machine_without(tmp_path)):
        if time.monotonic() > deadline:
            pytest.fail(f"the machine is not as before: {difference}\n{told}")
    assert not fleet_directory("two").exists()


def test_up_and_down_leave_the_machine_as_it_was(before: machine.Machine, tmp_path: Path) -> None:
    """After an ordinary `up` and `down` nothing is different."""
    up = meshproof("up", "two")
    told, _ = up.communicate(timeout=240)
    assert up.returncode == 0, told
    assert before.difference(machine_without(tmp_path))["links"]["new"], "the comparison sees a fleet"

    down = meshproof("down", "two")
    told += down.communicate(timeout=60)[0]

    assert down.returncode == 0, told
    assert_as(before, tmp_path, told)


@pytest.mark.parametrize("number", range(MOMENTS))
def test_down_repairs_whatever_a_crash_left(before: machine.Machine, tmp_path: Path, number: int) -> None:
    """kill -9 of the supervisor or the runner, or Ctrl-C, at a seeded random moment; then `down`."""
    chance = random.Random(SEED + number)
    way = ("kill the runner", "kill the supervisor", "Ctrl-C")[number % 3]
    moment = chance.uniform(0.05, UP_SECONDS_USUAL + 6.0)
    run = meshproof("run", "conformance", "--fleet", "two")
    try:
        run.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        strike(way, run)
    told = f"{way} after {moment:.2f} s (seed {SEED + number})\n" + run.communicate(timeout=240)[0]

    down = meshproof("down", "two")
    told += down.communicate(timeout=60)[0]

    assert "no embedded fleet here" not in told, f"nothing was brought up, so nothing was tried: {told}"
    assert down.returncode == 0, told
    assert_as(before, tmp_path, told)


def strike(way: str, run: subprocess.Popen[str]) -> None:
    """End what `way` names: processes are found by the fleet's mark and ended by pid."""
    if way == "Ctrl-C":
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to every process in the foreground
    elif way == "kill the runner":
        os.kill(run.pid, signal.SIGKILL)
    else:
        for pid in processes_of(fleet_directory("two")):
            if b"supervisor" in command_of(pid):
                os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
