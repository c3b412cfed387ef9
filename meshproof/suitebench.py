"""How long the suite takes as fleets grow, and how fast the mesh under it is: the part of `make bench` that runs cases.

Each fleet is brought up, the conformance suite runs over all ordered pairs once, and the fleet is taken down.
What counts is the session, from pytest's start to its report; bringing up and taking down are figures of their own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from meshproof.clusters import fleetfile
from meshproof.fixtures import results
from meshproof.fixtures.results import RunResult
from meshproof.fixtures.verdicts import Verdict

FLEETS = ("two", "three", "five", "eight")
SEED = 7
SECONDS_MAX_ON_THREE = 150.0
UNTIL = "seconds until "
"""How a case's measured values name the time a claim took to come true."""

Sample = tuple[str, str, float, float | None, str]
"""(name, unit, value, target, command)"""


def measure(fleets: Sequence[str] = FLEETS) -> Iterator[Sample]:
    """The suite's figures on each fleet; ratios are to the first one."""
    first: float | None = None
    for name in fleets:
        spec = fleetfile.load(fleetfile.resolve(name))
        clusters, pairs = len(spec.clusters), len(spec.clusters) * (len(spec.clusters) - 1)
        command = f"meshproof run conformance --fleet {name} --seed {SEED}"
        run = _run(name)
        reds = [case for case in run.cases if case.verdict in (Verdict.FAILED, Verdict.UNKNOWN)]
        for case in reds:  # the run's folder does not outlive the figure
            print(f"  {case.verdict.value} {case.id}: {case.reason}", file=sys.stderr)
        red = len(reds)
        target = SECONDS_MAX_ON_THREE if name == "three" else None
        yield f"suite, {clusters} clusters, {len(run.planned)} cases, {red} red", "s", run.seconds, target, command
        per_pair = run.seconds / pairs
        first = first or per_pair
        yield f"suite per ordered pair, {pairs} pairs, ratio", "", per_pair / first, 1.0, command
        times = sorted(taken(run))
        if times:
            for percent in (50, 95, 99):
                value = times[min(len(times) - 1, len(times) * percent // 100)]
                yield f"claims came true, p{percent} of {len(times)}, {clusters} clusters", "s", value, None, command


def taken(run: RunResult) -> Iterator[float]:
    """How long each claim of the run took to come true, in seconds since the act it follows."""
    for case in run.cases:
        for name, value in case.observed.items():
            if name.startswith(UNTIL) and isinstance(value, float):
                yield value


def _run(fleet: str) -> RunResult:
    """One run, with its fleet brought up for it. Raises OSError when it left no result."""
    with TemporaryDirectory(prefix="meshproof-bench-") as folder:
        command = [sys.executable, "-m", "meshproof", "run", "conformance", "--fleet", fleet]
        command += ["--seed", str(SEED), "--runs-dir", folder]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        return results.load((Path(folder) / "latest").resolve())
