"""Bringing a kind fleet up and down: the lock, the phases, what is kept when they fail, and the way back to nothing.

`down` needs nothing that `up` remembers but the fleet's directory: networks carry it as a label, and the nodes are the
containers on such a network. An Engine of ours is started again if need be to remove what it still has, and stopped
when it carries nothing more.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from meshproof.clusters import fleetfile
from meshproof.clusters.fleet import Cluster, EnvironmentUnfit, Fleet, FleetSpec, FleetStatus, Progress
from meshproof.clusters.kind import engine, evidence, images, phases, plan, preflight
from meshproof.clusters.kind.bringup import LABEL, PHASES, Bringup, NotReady, nodes_of, remove_network
from meshproof.clusters.kind.command import CommandFailed
from meshproof.clusters.kind.engine import Engine
from meshproof.clusters.places import fleet_directory, state_directory

REFUSED = (
    "a fleet named {name!r} is already up from another fleet file; take that one down first: meshproof down {name}"
)


class KindProvider:
    """Fleets of real kind clusters, on the user's Docker Engine or on one of ours (a `Provider`)."""

    def up(self, spec: FleetSpec, progress: Progress, *, first: str = "", last: str = "") -> Fleet:
        """See `Provider.up`. `first` and `last` name the phases to begin and to stop with.

        A fleet stopped before the last phase stays as it is, and is not ready.
        """
        preflight.require(spec, progress)
        with _lock(progress):
            if (running := self.find(spec)) is not None and not first:
                progress(f"fleet {spec.name!r} is already up")
                return running
            directory = fleet_directory(spec.name)
            self._refuse_another(spec, directory)
            bringup = Bringup(spec, directory, progress)
            every = bringup.phases()
            planned = phases.chosen(every, first, last)
            if not first:
                _clear(directory, progress)
                _begin(spec, directory)
            elif not directory.exists():
                raise EnvironmentUnfit(f"fleet {spec.name!r} has not been begun; run meshproof up without --from")
            began = time.monotonic()
            try:
                journal = phases.carry_out(planned, directory, progress, whole=planned[-1] == every[-1])
            except (CommandFailed, NotReady, EnvironmentUnfit) as error:
                raise self._failed(spec, directory, error, progress) from error
            except BaseException:
                _clear(directory, progress)
                stop_unused(progress)
                raise
            told = "is ready" if journal.state == "ready" else journal.detail
            progress(f"fleet {spec.name!r} {told} after {time.monotonic() - began:.1f} s")
            return _fleet(spec, directory)

    def find(self, spec: FleetSpec) -> Fleet | None:
        """The running, ready fleet brought up from a file that says the same as `spec`."""
        directory = fleet_directory(spec.name)
        if self.status(spec.name).phase != "ready" or _spec_of(directory) != _plain(spec):
            return None
        return _fleet(spec, directory)

    def status(self, name: str) -> FleetStatus:
        """What the journal says, checked against the containers that are there."""
        directory = fleet_directory(name)
        journal, spec = phases.read(directory), _spec_of(directory)
        if not directory.exists():
            return FleetStatus(name, "absent", "", {})
        if journal is None or spec is None:
            return FleetStatus(name, "dead", "its files are incomplete", {})
        phase = "starting" if journal.state == "waiting" else journal.state
        detail = journal.detail
        if phase == "ready" and (missing := _missing(spec, directory)):
            phase, detail = "dead", missing
        elif journal.state == "starting" and not _held():
            phase, detail = "dead", f"its bring-up ended {journal.detail}"
        return FleetStatus(name, phase, detail, journal.timings())

    def down(self, name: str, progress: Progress) -> None:
        """See `Provider.down`."""
        directory = fleet_directory(name)
        with _lock(progress):
            if directory.exists():
                progress(f"taking fleet {name!r} down")
            _clear(directory, progress)
            stop_unused(progress)

    def _refuse_another(self, spec: FleetSpec, directory: Path) -> None:
        same = _spec_of(directory) in (None, _plain(spec))
        if not same and self.status(spec.name).phase in ("starting", "ready"):
            raise EnvironmentUnfit(f"{spec.source}: {REFUSED.format(name=spec.name)}")

    def _failed(self, spec: FleetSpec, directory: Path, error: Exception, progress: Progress) -> EnvironmentUnfit:
        journal = phases.read(directory)
        phase = journal.phase if journal else "?"
        progress(f"phase {phase} failed; gathering what the clusters say")
        kept = evidence.keep(spec, directory)
        _clear(directory, progress)
        stop_unused(progress)
        return EnvironmentUnfit(
            f"fleet {spec.name!r} did not come up, phase {phase}: {error}\n"
            f"evidence: {kept}\n"
            f"to look at it before it breaks: meshproof up {spec.name} --until PHASE, with one of {', '.join(PHASES)}"
        )


def running_fleets(docker: Engine) -> list[str]:
    """The directories of all fleets that have a network in this Engine."""
    form = f'{{{{.Label "{LABEL}"}}}}'
    return docker.docker("network", "ls", f"--filter=label={LABEL}", f"--format={form}").split()


def _begin(spec: FleetSpec, directory: Path) -> None:
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700)
    shutil.copyfile(spec.source, directory / "fleet.yaml")


def _clear(directory: Path, progress: Progress) -> None:
    """Remove nodes, network and files. Idempotent; an Engine of ours that died is started to let go of what it had."""
    if not directory.exists():
        return
    docker = engine.running()
    if docker is None and engine.had_fleets():
        docker = engine.obtain(progress)
    if docker is not None:
        remove_network(docker, directory)
    spec = _spec_of(directory)
    if spec is not None:
        engine.remove_link(plan.bridge_name(spec))
    shutil.rmtree(directory)


def stop_unused(progress: Progress) -> None:
    """End an Engine of ours that carries no fleet any more, or does not answer."""
    docker = engine.running()
    if docker is None or (docker.ours and not running_fleets(docker)):
        engine.stop(progress)


def _missing(spec: FleetSpec, directory: Path) -> str:
    """Which nodes are not there or do not run; empty when all do."""
    docker = engine.running()
    if docker is None:
        return "no Docker Engine answers"
    wanted = {node for cluster in spec.clusters for node in plan.node_names(spec, cluster)}
    try:
        running = set(docker.docker("ps", "--format={{.Names}}").split())
        gone = sorted(wanted - (running & set(nodes_of(docker, directory))))
    except CommandFailed as error:
        return str(error)
    return f"nodes {', '.join(gone)} do not run" if gone else ""


def _fleet(spec: FleetSpec, directory: Path) -> Fleet:
    clusters = tuple(Cluster(member, member.name, directory / "kubeconfig" / member.name) for member in spec.clusters)
    return Fleet(spec, clusters, directory, python_image=images.TRAFFIC)


def _spec_of(directory: Path) -> FleetSpec | None:
    with contextlib.suppress(EnvironmentUnfit):
        return _plain(fleetfile.load(directory / "fleet.yaml"))
    return None


def _plain(spec: FleetSpec) -> FleetSpec:
    """What a fleet file says, wherever it lies and whatever the one who runs it allows."""
    return replace(spec, source=Path(), disruption=False)


def _lock_file() -> Path:
    return state_directory() / "kind.lock"


def _held() -> bool:
    """Whether some bring-up or take-down is under way."""
    try:
        with open(_lock_file()) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def _lock(progress: Progress) -> Iterator[None]:
    """One kind fleet of this state directory is changed at a time."""
    state_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(_lock_file(), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another command that changes a kind fleet")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
