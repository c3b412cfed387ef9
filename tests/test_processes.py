"""The fleet's first process keeps its programs and collects orphans.

It collects every child there is, so each scenario runs in a process of its own: the functions whose
names begin with `scene`, which print what they saw as JSON.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded import processes
from meshproof.clusters.embedded.forkserver import ForkServer
from meshproof.clusters.embedded.processes import Keeper, Program

ROOT = Path(__file__).parent.parent
SECONDS_MAX = 60.0
TICK_SECONDS = 0.005
BACKOFF_SECONDS = (0.02, 0.06, 0.12, 0.2)
PR_SET_CHILD_SUBREAPER = 36


def play(scene: Callable[[Path], None], folder: Path) -> Any:
    """What the scene printed, run in a Python of its own."""
    program = (
        f"from pathlib import Path; from tests.test_processes import {scene.__name__} as s; s(Path({str(folder)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=2 * SECONDS_MAX
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def program(folder: Path, *argv: str, name: str = "east/etcd") -> Program:
    return Program(name, None, list(argv), folder / "logs" / "etcd.log", {"PATH": os.environ["PATH"], "ONLY": "this"})


def tend_until(keeper: Keeper, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        keeper.tend()
        time.sleep(TICK_SECONDS)


def scene_failing(folder: Path) -> None:
    processes.BACKOFF_SECONDS = BACKOFF_SECONDS  # type: ignore[assignment]  # a tuple of another length, only here
    exits: list[tuple[float, str, int, int]] = []
    keeper = Keeper(lambda name, code, restarts: exits.append((time.monotonic(), name, code, restarts)))
    keeper.start(program(folder, "sh", "-c", "echo $ONLY; exit 3"))
    tend_until(keeper, lambda: len(exits) == 5)
    print(json.dumps(exits))


def test_a_program_that_ends_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    """Each death is told with its code and count; the pauses grow to the longest and stay there."""
    exits = play(scene_failing, tmp_path)
    assert [tuple(rest) for _, *rest in exits] == [("east/etcd", 3, number) for number in range(5)]
    pauses = [later[0] - earlier[0] for earlier, later in itertools.pairwise(exits)]
    for pause, least in zip(pauses, (*BACKOFF_SECONDS[1:], BACKOFF_SECONDS[-1]), strict=True):
        assert pause >= least


def test_a_program_has_its_own_environment_and_a_private_log(tmp_path: Path) -> None:
    """Output of every start is appended to one log that only its owner reads; the environment is the one given."""
    play(scene_failing, tmp_path)
    log = tmp_path / "logs" / "etcd.log"
    assert log.read_text().splitlines() == ["this"] * 5
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def scene_steady(folder: Path) -> None:
    processes.BACKOFF_SECONDS = (0.0, 60.0)  # type: ignore[assignment]  # as above
    processes.STEADY_SECONDS = 0.1
    exits: list[int] = []
    keeper = Keeper(lambda name, code, restarts: exits.append(restarts))
    keeper.start(program(folder, "sleep", "0.2"))
    tend_until(keeper, lambda: len(exits) == 2)
    print(json.dumps(exits))


def test_a_program_that_ran_long_is_started_again_soon(tmp_path: Path) -> None:
    """After a steady time the pauses start anew, so that one death a day is not held against it."""
    assert play(scene_steady, tmp_path) == [0, 1]


def scene_orphans(folder: Path) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # as process 1 of a namespace is
    exits: list[str] = []
    keeper = Keeper(lambda name, code, restarts: exits.append(name))
    keeper.start(
        program(
            folder, "sh", "-c", f"(sleep 60 & echo $! > {folder}/new; mv {folder}/new {folder}/orphan); exec sleep 60"
        )
    )
    kept = keeper._kept["east/etcd"].process
    assert kept is not None
    try:
        tend_until(keeper, (folder / "orphan").exists)
        orphan = Path("/proc", (folder / "orphan").read_text().strip())
        adopted = orphan.exists()
        os.kill(int(orphan.name), signal.SIGKILL)
        tend_until(keeper, lambda: not orphan.exists())
        print(json.dumps({"adopted": adopted, "exits": exits, "running": kept.returncode is None}))
    finally:
        os.kill(kept.pid, signal.SIGKILL)
        kept.wait()


def test_orphans_are_collected_and_nothing_else(tmp_path: Path) -> None:
    """A process whose parent is gone leaves no zombie, is no death of a program, and the program runs on."""
    assert play(scene_orphans, tmp_path) == {"adopted": True, "exits": [], "running": True}


def scene_cannot_start(folder: Path) -> None:
    processes.BACKOFF_SECONDS = BACKOFF_SECONDS  # type: ignore[assignment]  # as above
    exits: list[int] = []
    keeper = Keeper(lambda name, code, restarts: exits.append(code))
    try:
        keeper.start(program(folder, str(folder / "nothing"), name="never"))
        raised = False
    except FileNotFoundError:
        raised = True
    script, away = folder / "script", folder / "away"
    script.write_text("#!/bin/sh\nexit 7\n")
    script.chmod(0o700)
    keeper.start(program(folder, str(script)))
    tend_until(keeper, lambda: len(exits) == 1)
    script.rename(away)
    tend_until(keeper, lambda: keeper._kept["east/etcd"].restarts >= 2)
    while_away = list(exits)
    away.rename(script)
    tend_until(keeper, lambda: len(exits) == 2)
    print(json.dumps({"raised": raised, "kept": list(keeper._kept), "while_away": while_away, "exits": exits}))


def test_a_start_that_fails_is_raised_once_and_a_restart_is_tried_again(tmp_path: Path) -> None:
    """The first start raises and keeps nothing; a restart that fails ends no fleet and is tried until it works."""
    seen = play(scene_cannot_start, tmp_path)
    assert seen == {"raised": True, "kept": ["east/etcd"], "while_away": [7], "exits": [7, 7]}


def test_a_child_that_somebody_else_collected_is_no_error(tmp_path: Path) -> None:
    """Popen collects a child that could not execute its program itself; that must not end the first process."""
    child = subprocess.Popen(["true"])
    child.wait()
    Keeper(lambda name, code, restarts: None)._reap(child.pid)


def test_a_program_enters_its_network_namespace(tmp_path: Path) -> None:
    """With a namespace the program is run by nsenter in exactly that one, as an argument list."""
    recorder = tmp_path / "nsenter"
    recorder.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/said\n')
    recorder.chmod(0o700)
    seen = play(scene_namespace, tmp_path)
    assert seen == ["--net=/run/netns/east-cp", "--", "etcd", "--data dir;x"]


def scene_namespace(folder: Path) -> None:
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    exits: list[int] = []
    keeper = Keeper(lambda name, code, restarts: exits.append(code))
    keeper.start(Program("e", "east-cp", ["etcd", "--data dir;x"], folder / "log", {"PATH": os.environ["PATH"]}))
    tend_until(keeper, lambda: bool(exits))
    print(json.dumps((folder / "said").read_text().splitlines()))


def scene_forks(folder: Path) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # as process 1 of a namespace is
    processes.BACKOFF_SECONDS = (0.0, 0.0, 60.0)  # type: ignore[assignment]  # as above
    server = ForkServer()
    exits: list[int] = []
    keeper = Keeper(lambda name, code, restarts: exits.append(code), server)
    agent = "meshproof.clusters.embedded.nodeagent.__main__"  # without its argument it says how it is used, and ends
    keeper.start(replace(program(folder, agent), forked=True))
    tend_until(keeper, lambda: len(exits) == 1)
    os.kill(server.pid, signal.SIGKILL)
    tend_until(keeper, lambda: len(exits) == 2)
    print(json.dumps(exits))


def test_a_forked_agent_is_kept_like_a_program_also_without_the_fork_server(tmp_path: Path) -> None:
    """It runs with its own log and environment, its end is seen, and when no fork is to be had it is executed."""
    assert play(scene_forks, tmp_path) == [2, 2]
    lines = (tmp_path / "logs" / "etcd.log").read_text().splitlines()
    assert lines == ["usage: python -m meshproof.clusters.embedded.nodeagent <config.json>"] * 2
