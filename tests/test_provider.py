"""What the embedded provider makes of a fleet's directory and processes; no fleet is brought up."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import binaries, occupied, preflight
from meshproof.clusters.embedded import provider as embedded
from meshproof.clusters.embedded.provider import EmbeddedProvider
from meshproof.clusters.fleet import EnvironmentUnfit, FleetSpec
from meshproof.clusters.places import fleet_directory, state_directory

TWO = fleetfile.FLEETS / "two.yaml"
SECONDS_MAX = 60.0
POLL_SECONDS = 0.01


def quiet(line: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a state directory of its own; nothing here may need root or a built control plane."""
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(embedded, "_host_link_exists", lambda: False)
    monkeypatch.setattr(preflight, "require", lambda spec, progress: None)
    monkeypatch.setattr(binaries, "find", lambda progress: None)
    return tmp_path / "state"


@pytest.fixture
def spec() -> FleetSpec:
    return fleetfile.load(TWO)


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Pretend that the fleet's processes are there, or not."""

    def pretend(answer: bool) -> None:
        monkeypatch.setattr(embedded, "processes_of", lambda directory: [4_000_000] if answer else [])

    return pretend


def lay(spec: FleetSpec, phase: str | None = "ready", detail: str = "2 clusters") -> Path:
    """The directory that a fleet brought up from `spec` has."""
    directory = fleet_directory(spec.name)
    directory.mkdir(parents=True)
    (directory / "fleet.yaml").write_text(spec.source.read_text())
    if phase is not None:
        content = {"phase": phase, "detail": detail, "timings": {"network": 0.3}, "restarts": {}}
        (directory / "status.json").write_text(json.dumps(content))
    return directory


def another_file(tmp_path: Path) -> FleetSpec:
    """A fleet of the same name that is not the same."""
    path = tmp_path / "mine.yaml"
    path.write_text(TWO.read_text().replace("10.142.0.0", "10.152.0.0"))
    return fleetfile.load(path)


def everything(directory: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in directory.rglob("*") if path.is_file()}


# --- status and find -----------------------------------------------------------------------------------------------


def test_nothing_is_absent(spec: FleetSpec) -> None:
    """Without a directory a fleet is absent, and looking makes none."""
    assert EmbeddedProvider().status("two").phase == "absent"
    assert EmbeddedProvider().find(spec) is None
    assert EmbeddedProvider().names() == []
    assert not state_directory().exists()


@pytest.mark.parametrize(
    ("stored", "living", "phase"),
    [
        (None, True, "starting"),
        (None, False, "dead"),
        ("starting", True, "starting"),
        ("starting", False, "dead"),
        ("ready", True, "ready"),
        ("ready", False, "dead"),
        ("failed", True, "failed"),
        ("failed", False, "failed"),
    ],
)
def test_a_phase_is_believed_only_of_the_living(
    spec: FleetSpec, alive: Callable[[bool], None], stored: str | None, living: bool, phase: str
) -> None:
    """The supervisor's own report counts while the fleet has processes; after that it is dead, or has failed."""
    lay(spec, stored)
    alive(living)
    status = EmbeddedProvider().status("two")
    assert status.phase == phase
    assert status.timings == ({} if stored is None else {"network": 0.3})
    assert EmbeddedProvider().names() == ["two"]
    assert (EmbeddedProvider().find(spec) is not None) == (phase == "ready")


@pytest.mark.parametrize("content", ["", '{"phase": "rea', "\0\0"])
def test_a_report_that_cannot_be_read_is_no_report(
    spec: FleetSpec, alive: Callable[[bool], None], content: str
) -> None:
    """A torn status file is as good as none yet."""
    (lay(spec) / "status.json").write_text(content)
    alive(True)
    assert EmbeddedProvider().status("two").phase == "starting"


def test_find_gives_the_running_fleet_of_the_same_file(
    spec: FleetSpec, alive: Callable[[bool], None], tmp_path: Path
) -> None:
    """A copy of the file elsewhere is the same fleet; a file that says something else is not."""
    directory = lay(spec)
    alive(True)
    copy = tmp_path / "copy.yaml"
    copy.write_text("# another comment\n" + TWO.read_text())
    found = EmbeddedProvider().find(fleetfile.load(copy))
    assert found is not None
    assert [cluster.kubeconfig for cluster in found.clusters] == [
        directory / "kubeconfig" / n for n in ("east", "west")
    ]
    assert EmbeddedProvider().find(another_file(tmp_path)) is None


def test_processes_are_known_by_the_whole_mark(tmp_path: Path) -> None:
    """A fleet's processes are those with exactly its directory in their environment, not one that begins like it."""
    directory = tmp_path / "fleets" / "two"
    sleeper = [sys.executable, "-c", "input()"]
    started = [
        subprocess.Popen(sleeper, stdin=subprocess.PIPE, env={embedded.MARK: mark})
        for mark in (str(directory), f"{directory}-more", str(directory.parent))
    ]
    try:
        await_(lambda: embedded.processes_of(directory) == [started[0].pid])
    finally:
        for process in started:
            process.communicate(b"\n", timeout=SECONDS_MAX)
    assert embedded.processes_of(directory) == []


def await_(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(POLL_SECONDS)


# --- up ------------------------------------------------------------------------------------------------------------


def test_up_of_a_fleet_that_is_up_changes_nothing(spec: FleetSpec, alive: Callable[[bool], None]) -> None:
    """The second `up` of the same file says so and returns the fleet that is there."""
    directory = lay(spec)
    alive(True)
    before, told = everything(directory), list[str]()
    fleet = EmbeddedProvider().up(spec, told.append)
    assert told == ["fleet 'two' is already up"]
    assert fleet.directory == directory
    assert everything(directory) == before


@pytest.mark.parametrize("phase", ["starting", "ready"])
def test_up_refuses_another_file_of_the_same_name(
    spec: FleetSpec, alive: Callable[[bool], None], tmp_path: Path, phase: str
) -> None:
    """A living fleet of that name from another file is left alone; the sentence says which file and what to do."""
    directory = lay(spec, phase)
    alive(True)
    before = everything(directory)
    with pytest.raises(EnvironmentUnfit) as raised:
        EmbeddedProvider().up(another_file(tmp_path), quiet)
    assert str(raised.value) == (
        f"{tmp_path / 'mine.yaml'}: a fleet named 'two' is already up from another fleet file; "
        "give this one another name, or take that one down first: meshproof down two"
    )
    assert everything(directory) == before


Spawned = Callable[[FleetSpec, Path], None]


@pytest.fixture
def spawning(monkeypatch: pytest.MonkeyPatch, alive: Callable[[bool], None]) -> Callable[[Spawned], None]:
    """Let a function stand in for the supervisor: it lays what that would, in a fresh directory."""
    alive(False)

    def stand_in(supervisor: Spawned) -> None:
        def spawn(spec: FleetSpec, directory: Path, found: binaries.Binaries) -> None:
            directory.mkdir(parents=True)
            (directory / "fleet.yaml").write_text(spec.source.read_text())
            supervisor(spec, directory)

        monkeypatch.setattr(embedded, "_spawn", spawn)

    return stand_in


def reports(phase: str, detail: str = "", **timings: float) -> Spawned:
    def supervisor(spec: FleetSpec, directory: Path) -> None:
        (directory / "supervisor.log").write_text("a line\nanother line\n")
        content = {"phase": phase, "detail": detail, "timings": timings}
        (directory / "status.json").write_text(json.dumps(content))

    return supervisor


def test_up_clears_a_dead_fleet_away_first(spec: FleetSpec, spawning: Callable[[Spawned], None]) -> None:
    """What an earlier fleet of that name left is gone before the new one starts, whichever file it was of."""
    leftover = lay(spec) / "pki"
    leftover.mkdir()
    spawning(reports("ready", network=0.3, ready=8.1))
    told: list[str] = []
    fleet = EmbeddedProvider().up(spec, told.append)
    assert fleet.directory.is_dir()
    assert not leftover.exists()
    assert [line.strip() for line in told[:4]] == [
        "bringing fleet 'two' up: 2 clusters, 4 nodes",
        "clearing away what an earlier fleet 'two' left",
        "0.3 s  network",
        "8.1 s  ready",
    ]


def test_a_failure_is_told_and_its_logs_are_kept(
    spec: FleetSpec, spawning: Callable[[Spawned], None], state: Path
) -> None:
    """`up` that fails says why and where the logs are, and leaves nothing but those."""
    spawning(reports("failed", "east: NotReady: kube-apiserver is not ready"))
    with pytest.raises(EnvironmentUnfit, match="east: NotReady: kube-apiserver is not ready") as raised:
        EmbeddedProvider().up(spec, quiet)
    assert f"(logs: {state / 'last-failure'})" in str(raised.value)
    assert (state / "last-failure" / "supervisor.log").read_text() == "a line\nanother line\n"
    assert not fleet_directory("two").exists()


@pytest.mark.parametrize("kind", ["its last words", "nothing"])
def test_a_supervisor_that_ended_is_told(spec: FleetSpec, spawning: Callable[[Spawned], None], kind: str) -> None:
    """A supervisor that dies without a report is quoted; one whose files went with it was taken down."""

    def supervisor(spec: FleetSpec, directory: Path) -> None:
        if kind == "nothing":
            (directory / "fleet.yaml").unlink()
            directory.rmdir()
        else:
            (directory / "supervisor.log").write_text("MemoryError\n")

    spawning(supervisor)
    expected = "was taken down meanwhile" if kind == "nothing" else "its supervisor ended; its last words: MemoryError"
    with pytest.raises(EnvironmentUnfit, match=expected):
        EmbeddedProvider().up(spec, quiet)
    assert not fleet_directory("two").exists()


def test_a_process_that_is_unseen_for_an_instant_is_not_dead(
    spec: FleetSpec, spawning: Callable[[Spawned], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process executes another program it shows no environment; one such look does not end `up`."""
    looks: list[list[int]] = [[], [1], []]

    def processes_of(directory: Path) -> list[int]:
        if len(looks) == 1 and directory.exists():
            reports("ready")(spec, directory)
        return looks.pop(0) if looks else []

    spawning(lambda spec, directory: monkeypatch.setattr(embedded, "processes_of", processes_of))
    assert EmbeddedProvider().up(spec, quiet).directory.is_dir()


def test_up_that_is_interrupted_leaves_nothing(spec: FleetSpec, spawning: Callable[[Spawned], None]) -> None:
    """Ctrl-C while a fleet starts clears it away and goes on."""

    def interrupted(spec: FleetSpec, directory: Path) -> None:
        raise KeyboardInterrupt

    spawning(interrupted)
    with pytest.raises(KeyboardInterrupt):
        EmbeddedProvider().up(spec, quiet)
    assert not fleet_directory("two").exists()


def test_up_waits_for_another_up_and_checks_the_machine_again(
    spec: FleetSpec, spawning: Callable[[Spawned], None], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second `up` says that it waits; what the first brought up may leave no room, so that is asked again."""
    asked: list[str] = []

    def require(spec: FleetSpec, progress: Callable[[str], None]) -> None:
        asked.append("before" if not asked else "after waiting")

    monkeypatch.setattr(preflight, "require", require)
    spawning(reports("ready"))
    state.mkdir()
    waiting = threading.Event()
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        waiting.set()

    with open(state / "lock", "w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: EmbeddedProvider().up(spec, tell))
        thread.start()
        assert waiting.wait(SECONDS_MAX)
        assert told == ["waiting for another `meshproof up` to end"]
        assert not fleet_directory("two").exists()
    thread.join(SECONDS_MAX)
    assert asked == ["before", "after waiting"]
    assert fleet_directory("two").exists()


def test_the_supervisor_gets_the_binaries_that_were_found_and_little_else(
    spec: FleetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not look again, which elsewhere may find others; nothing else of a person's environment goes along."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOFLAGS", "-buildvcs=false")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen: dict[str, Any] = {}
    monkeypatch.setattr(subprocess, "run", lambda command, **options: seen.update(options, command=command))
    directory = fleet_directory("two")
    embedded._spawn(spec, directory, binaries.Binaries(Path("assets"), "KUBEBUILDER_ASSETS", "v1.36.3"))
    assert set(seen["env"]) <= {*embedded.PASSED_ON, embedded.MARK, "PYTHONUNBUFFERED"}
    assert json.loads((directory / "binaries.json").read_text())["directory"] == str(tmp_path / "assets")
    assert seen["env"][embedded.MARK] == str(directory)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory, directory.parent, directory / "supervisor.log")]
    assert modes == [0o700, 0o700, 0o600]


# --- logs and down -------------------------------------------------------------------------------------------------


def test_only_the_last_failures_logs_are_kept_and_no_keys(spec: FleetSpec, state: Path) -> None:
    """Logs and the report move to a private place and replace those of the failure before; keys stay behind."""
    earlier = state / "last-failure"
    earlier.mkdir(parents=True)
    (earlier / "old.log").touch()
    directory = lay(spec, "failed")
    for folder in ("pki/east", "kubeconfig", "logs/east"):
        (directory / folder).mkdir(parents=True)
    (directory / "pki" / "east" / "ca.key").write_text("key")
    (directory / "kubeconfig" / "all").write_text("key")
    (directory / "logs" / "east" / "etcd.log").write_text("words")
    kept = embedded._keep_logs(directory)
    assert sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()) == [
        "logs/east/etcd.log",
        "status.json",
    ]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def test_down_ends_every_process_of_the_fleet_and_no_other(spec: FleetSpec) -> None:
    """`down` ends what carries the fleet's mark and waits until it has ended; doing it again is fine."""
    directory = lay(spec)
    with running(directory) as own, running(directory.with_name("three")) as other:
        await_(lambda: embedded.processes_of(directory) == [own.pid])
        EmbeddedProvider().down("two", quiet)
        assert not directory.exists()
        assert not embedded._runs(own.pid)
        assert other.poll() is None
        EmbeddedProvider().down("two", quiet)


@contextlib.contextmanager
def running(mark: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, embedded.MARK: str(mark)}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("others", [True, False])
def test_down_waits_for_the_link_of_a_fleet_that_just_died(
    spec: FleetSpec, monkeypatch: pytest.MonkeyPatch, alive: Callable[[bool], None], others: bool
) -> None:
    """The machine's link outlives its fleet for a moment and is waited for, unless it is another living fleet's."""
    lay(spec)
    alive(False)
    looks: list[bool] = [True, True, False]
    monkeypatch.setattr(embedded, "_host_link_exists", lambda: looks.pop(0))
    living = frozenset({Path("/another/fleet")}) if others else frozenset()
    monkeypatch.setattr(occupied, "living_fleets", lambda: living)
    EmbeddedProvider().down("two", quiet)
    assert len(looks) == (2 if others else 0)
    assert not fleet_directory("two").exists()


def test_down_that_cannot_finish_keeps_the_directory(
    spec: FleetSpec, monkeypatch: pytest.MonkeyPatch, alive: Callable[[bool], None]
) -> None:
    """A link that stays is told, and the fleet is still known, so that `down` can be said again."""
    lay(spec)
    alive(False)
    monkeypatch.setattr(embedded, "GONE_SECONDS_MAX", 0.0)
    monkeypatch.setattr(embedded, "_host_link_exists", lambda: True)
    monkeypatch.setattr(occupied, "living_fleets", frozenset)
    with pytest.raises(EnvironmentUnfit, match="link meshproof0 is still there"):
        EmbeddedProvider().down("two", quiet)
    assert EmbeddedProvider().names() == ["two"]


@pytest.mark.parametrize("name", ["../two", "a/b", "", "."])
def test_a_name_cannot_lead_out_of_the_state_directory(name: str, state: Path) -> None:
    """What is removed is named by a short label; anything else is refused before anything is touched."""
    with pytest.raises(ValueError, match="is no fleet name"):
        EmbeddedProvider().down(name, quiet)
