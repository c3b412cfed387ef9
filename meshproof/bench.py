"""`make bench`: the figures the project promises, measured on this machine.

Each figure is printed with its command, N, samples and target, and stored as JSON with a line
about the machine. Times are wall-clock seconds, memory is proportional set size (PSS), because
every control plane shares the pages of one binary. `--cold` adds the time from a clean clone with
empty caches to a verdict; it builds everything and takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from meshproof import suitebench
from meshproof.cli.exits import Exit, Stopped, stoppable
from meshproof.clusters import fleetfile
from meshproof.clusters.embedded.provider import EmbeddedProvider, processes_of
from meshproof.clusters.fleet import EnvironmentUnfit, Fleet, FleetSpec
from meshproof.clusters.places import fleet_directory
from meshproof.fixtures.rundir import stamp

SAMPLES = 3
HELP_SAMPLES = 10
IDLE_SECONDS = 10.0
FLEETS = ("two", "three", "six")
COLD_SECONDS_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; `target` None means it is only reported."""

    name: str
    unit: str
    samples: tuple[float, ...]
    target: float | None
    command: str

    def __str__(self) -> str:
        spread = f"min {min(self.samples):.2f}, max {max(self.samples):.2f}, N={len(self.samples)}"
        verdict = ""
        if self.target is not None:
            verdict = f"  target ≤ {self.target:g}: {'met' if max(self.samples) <= self.target else 'MISSED'}"
        return f"{self.name:<34} median {statistics.median(self.samples):8.2f} {self.unit:<3} ({spread}){verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m meshproof.bench", description=__doc__)
    parser.add_argument("--cold", action="store_true", help="also time `make conformance` from a clean clone")
    parser.add_argument("--suite", action="store_true", help="also run the suite on 2, 3, 5 and 8 clusters")
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, help=f"fleets brought up per size (default {SAMPLES}, 0: none)"
    )
    parser.add_argument("--fleet", action="append", help=f"only these sizes (default {', '.join(FLEETS)})")
    options = parser.parse_args()
    print(machine(), flush=True)
    figures: list[Figure] = []
    try:
        with stoppable():
            for figure in measure(options.fleet or FLEETS, options.samples, suite=options.suite, cold=options.cold):
                print(figure, flush=True)
                figures.append(figure)
    except EnvironmentUnfit as unfit:
        print(f"bench: {unfit}", file=sys.stderr)
        return Exit.UNFIT
    except Stopped as stopped:
        return 128 + stopped.number
    finally:  # what was measured is kept, whatever went wrong after it
        path = Path("runs") / f"{stamp(datetime.now(UTC))}-bench.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), "figures": [asdict(figure) for figure in figures]}, indent=1))
        print(path)
    return 0


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}, Python {platform.python_version()}"


def measure(fleets: tuple[str, ...] | list[str], samples: int, *, suite: bool, cold: bool) -> Iterator[Figure]:
    """Every figure as it becomes known. The fleets are brought up and taken down one at a time."""
    yield Figure(
        "ten million additions in Python", "s", tuple(map(_speed, range(3))), None, "how fast this machine is now"
    )
    program = [str(Path(sys.executable).with_name("meshproof")), "--help"]
    times = [
        _seconds(lambda: subprocess.run(program, stdout=subprocess.DEVNULL, check=True)) for _ in range(HELP_SAMPLES)
    ]
    yield Figure("meshproof --help", "s", tuple(times), 0.3, "meshproof --help")
    if samples:
        for name in fleets:
            yield from _fleet(name, samples)
        yield _warm_conformance()
    if suite:
        for name, unit, value, target, command in suitebench.measure():
            yield Figure(name, unit, (value,), target, command)
    if cold:
        yield _cold_conformance()


def _fleet(name: str, samples: int) -> Iterator[Figure]:
    spec = fleetfile.load(fleetfile.resolve(name))
    provider = EmbeddedProvider()
    _refuse_somebody_elses(provider, spec)
    ups, downs, memory, idle = [], [], [], []
    for _ in range(samples):
        began = time.monotonic()
        fleet = provider.up(spec, lambda line: None)
        ups.append(time.monotonic() - began)
        try:
            idle.append(_idle_percent(fleet) / len(fleet.clusters))
            memory.append(sum(map(_pss_megabytes, _family(fleet))) / len(fleet.clusters))
        finally:
            downs.append(_seconds(lambda: provider.down(spec.name, lambda line: None)))
    command = f"meshproof up {name}"
    yield Figure(
        f"up, {len(spec.clusters)} clusters, warm", "s", tuple(ups), 12.0 if name == "three" else None, command
    )
    yield Figure(f"PSS per cluster of {len(spec.clusters)}", "MB", tuple(memory), 600.0, command)
    yield Figure(f"idle CPU per cluster of {len(spec.clusters)}", "%", tuple(idle), None, command)
    yield Figure(f"down, {len(spec.clusters)} clusters", "s", tuple(downs), None, f"meshproof down {name}")


def _refuse_somebody_elses(provider: EmbeddedProvider, spec: FleetSpec) -> None:
    """A fleet that is up would be measured as up in no time, and taken down under its owner."""
    if (phase := provider.status(spec.name).phase) in ("starting", "ready"):
        raise EnvironmentUnfit(f"fleet {spec.name!r} is {phase}; take it down first: meshproof down {spec.name}")


def _warm_conformance() -> Figure:
    command = [sys.executable, "-m", "meshproof", "run", "conformance", "--fleet", "two"]
    seconds = _seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
    return Figure("conformance on two, warm", "s", (seconds,), None, "meshproof run conformance --fleet two")


def _cold_conformance() -> Figure:
    """From a clean clone of HEAD with empty caches to the verdict. Debian packages are those the machine has."""
    source = Path(__file__).resolve().parents[1]
    folder = Path(tempfile.mkdtemp(prefix="meshproof-cold-"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(source), str(folder / "clone")], check=True)
        caches = {
            name: str(folder / name.lower())
            for name in ("MESHPROOF_CACHE", "GOCACHE", "GOMODCACHE", "PIP_CACHE_DIR", "MESHPROOF_STATE")
        }
        environment = {**os.environ, **caches, "GOFLAGS": "-modcacherw"}
        try:
            seconds = _seconds(
                lambda: subprocess.run(
                    ["make", "conformance"], cwd=folder / "clone", env=environment, timeout=COLD_SECONDS_MAX, check=True
                )
            )
        finally:  # before its state directory goes: a fleet that the clone left would never be found again
            subprocess.run([sys.executable, "-m", "meshproof", "down", "--all"], env=environment, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Figure("cold clone to verdict", "s", (seconds,), 420.0, "make conformance (clean clone, empty caches)")


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _speed(_: int) -> float:
    """Other people's work on the same host shows here, and explains the other figures."""

    def add() -> None:
        total = 0
        for number in range(10_000_000):
            total += number

    return _seconds(add)


def _family(fleet: Fleet) -> list[int]:
    """Every process of the fleet, pods included: whatever descends from its marked processes."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    family: set[int] = set()
    waiting = processes_of(fleet_directory(fleet.spec.name))
    while waiting:
        pid = waiting.pop()
        if pid not in family:
            family.add(pid)
            waiting += parents.get(pid, [])
    return sorted(family)


def _pss_megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _idle_percent(fleet: Fleet) -> float:
    """Percent of one core that the whole fleet uses while nothing happens."""

    def ticks() -> int:
        total = 0
        for pid in _family(fleet):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += int(fields[11]) + int(fields[12])
        return total

    before, began = ticks(), time.monotonic()
    while time.monotonic() - began < IDLE_SECONDS:
        time.sleep(min(1.0, IDLE_SECONDS))
    return 100.0 * (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
