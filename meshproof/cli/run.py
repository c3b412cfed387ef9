"""Run a suite against a fleet and print the verdict. A fleet that is up is used and left up; else one is brought
up for the run and taken down after it, also after Ctrl-C (once: report and tidy up; twice: do not wait for pytest).

suites: conformance (default), all (every suite that is built); chaos and load are not built yet (exit 10)
exit codes: 0 green, 1 a promise was broken, 11 could not tell, 10 unfit environment, 2 to 5 as pytest's, 130 Ctrl-C
(4 also for an id or pair in -k that does not exist, 5 when all that -k names is not built; then no fleet is brought up)
examples:
  meshproof run conformance --fleet two
  meshproof run --context east --context west        clusters somebody else made; see `meshproof plan --help` first
  meshproof run --fleet three -n 4                   with four worker processes (pytest-xdist)
  meshproof run --fleet three -k 'DISC-04[east-west]' --seed 7
  meshproof run --fleet two --keep -- -x -v          what follows -- goes to pytest (use pytest itself for --pdb)"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meshproof.cli.exits import Exit, Stopped, undisturbed
from meshproof.cli.output import tell
from meshproof.cli.target import add_target, target, words

if TYPE_CHECKING:
    from meshproof.clusters.fleet import Fleet, FleetSpec

NAME = "run"
HELP = "run a suite against a fleet"
SUITES = ("conformance", "chaos", "load", "all")
BUILT = ("conformance",)
STOP_SECONDS_MAX = 60.0
"""How long an interrupted pytest may take to write its report and remove its namespaces."""
HEARTBEAT_SECONDS = 5.0
TOGGLE_SECONDS_MAX = 30.0
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:hypothesispytest")
"""Without a plugin that no case uses, and that takes 2 s to load for its word at the end."""
WITHOUT_A_RUN = {"--collect-only", "--co", "--help", "-h", "--version", "-V", "--fixtures", "--markers", "--setup-plan"}
"""With these pytest does something else than run cases, and 0 says no more than that."""


def seed(text: str) -> int:
    """An argparse type: a whole number from 0."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def at_least_one(text: str) -> int:
    """An argparse type: a whole number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("suite", nargs="?", choices=SUITES, default="conformance", metavar="SUITE", help="|".join(SUITES))
    add_target(own, default="two")
    own.add_argument("--seed", type=seed, metavar="N", help="seed of the run (default: drawn, and printed)")
    own.add_argument("-k", dest="expression", metavar="EXPR", help="only the cases that match, as for pytest")
    own.add_argument("-n", dest="workers", type=seed, metavar="N", help="worker processes (default: 0, this one only)")
    own.add_argument("--at-once", type=at_least_one, metavar="N", help="cases that run at the same time (default: 12)")
    own.add_argument(
        "--defect", action="append", default=[], metavar="NAME", help="with this defect of the reference mesh on"
    )
    own.add_argument(
        "--allow-disruption",
        action="store_true",
        help="in clusters somebody else made: cases that disturb their mesh or nodes too (no managed mesh)",
    )
    own.add_argument("--image", default="", metavar="IMAGE", help="of all pods, any with python3; best with its digest")
    own.add_argument("--keep", action="store_true", help="leave the fleet up that this run brought up")
    own.add_argument("--strict", action="store_true", help="unsupported and not built are red too")
    own.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where to (default: runs)")


def execute(options: argparse.Namespace) -> int:
    from meshproof.clusters.fleet import EnvironmentUnfit
    from meshproof.fixtures.rundir import refuse_unwritable

    if options.suite not in (*BUILT, "all"):
        raise EnvironmentUnfit(f"suite {options.suite} is not built yet; there is {', '.join(BUILT)}")
    spec = target(options)
    if options.expression is not None:
        from meshproof.cli.selection import refuse_pointless

        refuse_pointless(options.expression, spec)
    if options.defect:
        from meshproof.cli.naming import known_defects
        from meshproof.clusters.meshes.choice import reference_mesh_of

        known_defects(options.defect)
        if spec.mesh or not spec.lent:
            reference_mesh_of(spec)
    if spec.lent:
        warn_of_tag(options.image)
    refuse_unwritable(options.runs_dir)
    with _fleet(spec, keep=options.keep) as fleet, _defective(fleet, options.defect):
        before = _runs(options.runs_dir)
        code = _pytest(_command(options, spec))
        moved = any(word.startswith("--runs-dir") for word in options.pytest_arguments)
        if code or moved or WITHOUT_A_RUN.intersection(options.pytest_arguments):
            return code
        return _borne_out(_runs(options.runs_dir) - before)


def warn_of_tag(image: str) -> None:
    """An image that is named by its tag may be another one tomorrow, and in each cluster."""
    from meshproof.fixtures.patterns import IMAGE

    if "@" not in (named := image or IMAGE):
        tell(f"warning: image {named} is named by a tag; pin what you test with: --image NAME@sha256:DIGEST")


@contextlib.contextmanager
def _defective(fleet: Fleet, defects: list[str]) -> Iterator[None]:
    """Within, the mesh has these defects on; with none nothing is touched."""
    if not defects:
        yield
        return
    from meshproof.clusters.meshes.choice import reference_mesh_of
    from meshproof.fixtures.fleetlock import mesh_alone

    mesh = reference_mesh_of(fleet.spec)
    with mesh_alone(fleet, tell):
        tell(f"switching on: {', '.join(defects)}")
        try:
            mesh.set_defects(fleet, defects, TOGGLE_SECONDS_MAX)
            yield
        finally:
            with undisturbed():
                mesh.set_defects(fleet, [], TOGGLE_SECONDS_MAX)


def _runs(folder: Path) -> frozenset[Path]:
    return frozenset(path for path in folder.glob("*/run.json") if not path.parent.is_symlink())


def _borne_out(records: frozenset[Path]) -> int:
    """0 when a run says itself that it ended well. A case that ends the process (os._exit) leaves 0 and no verdict."""
    import json

    for record in records:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(record.read_text(encoding="utf-8")).get("exit_code") == Exit.OK:
                return Exit.OK
    tell("pytest ended with 0, but no run says that it came to its end; no verdict can be given")
    return Exit.UNKNOWN


@contextlib.contextmanager
def _fleet(spec: FleetSpec, *, keep: bool) -> Iterator[Fleet]:
    """The fleet, up. What was up before stays up."""
    from meshproof.clusters.providers import provider_of
    from meshproof.fixtures.fleetlock import mesh_used

    provider = provider_of(spec)
    # One that is starting is somebody else's too; `up` waits for it.
    lent = provider.status(spec.name).phase in {"starting", "ready", "lent"}
    fleet = provider.up(spec, tell)  # ends in nothing, or in a fleet that is up
    try:
        yield fleet
    finally:
        if keep and not lent:
            tell(f"fleet {spec.name} stays up; end it with: meshproof down {spec.name}")
        elif not lent:
            with undisturbed():
                if mesh_used(fleet):
                    tell(f"another run uses fleet {spec.name}, so it stays up; end it with: meshproof down {spec.name}")
                else:
                    provider.down(spec.name, tell)


def typed(
    fleet: Sequence[str], defects: Sequence[str] = (), suite: str = "conformance", *, more: Sequence[str] = ()
) -> str:
    """How a person has such a run again; `fleet` are the words that name it, the plugin adds seed and selection."""
    switched = [word for name in defects for word in ("--defect", name)]
    return shlex.join(["meshproof", "run", suite, *fleet, *switched, *more])


def _more(options: argparse.Namespace) -> list[str]:
    """What the plugin is told in the words that we are told."""
    image = ["--image", options.image] if options.image else []
    return [*image, *(["--allow-disruption"] if options.allow_disruption else [])]


def named_by(spec: FleetSpec) -> str:
    """What a person types for a fleet: the name of a built-in one, else its file."""
    from meshproof.clusters.fleetfile import FLEETS

    return spec.name if spec.source == (FLEETS / f"{spec.name}.yaml").absolute() else str(spec.source)


def _command(options: argparse.Namespace, spec: FleetSpec) -> list[str]:
    from meshproof.clusters.places import state_directory

    suites = [str(Path(__file__).parents[1] / suite) for suite in BUILT]
    command = [*PYTEST, *suites]
    command += ["--fleet", str(spec.source), "--runs-dir", str(options.runs_dir)]
    command += [
        "--rerun-command",
        typed(words(options), options.defect, options.suite, more=_more(options)),
        "-o",
        f"cache_dir={state_directory() / 'pytest-cache'}",
    ]
    if options.seed is not None:
        command += ["--seed", str(options.seed)]
    if options.expression is not None:
        command += ["-k", options.expression]
    if options.defect:
        command += ["--expect-defects", ",".join(options.defect)]
    if options.workers is not None:
        command += ["-n", str(options.workers)]
    if options.at_once is not None:
        command += ["--at-once", str(options.at_once)]
    command += _more(options)
    if options.strict:
        command.append("--strict-verdicts")
    return [*command, *options.pytest_arguments]


def _pytest(command: list[str]) -> int:
    """Run pytest to its end; its exit code. Interrupted, it gets one SIGINT and time to report; then `Stopped` goes on.

    It has a session of its own, so that a terminal's Ctrl-C reaches it once, through us, and it dies with us.
    """
    guard = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []
    process = subprocess.Popen([*guard, *command], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait()
    except Stopped as stopped:
        _wind_up(process, stopped)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code < 0:
        tell(f"pytest was ended by {signal.Signals(-code).name}; no verdict can be given")
        return Exit.UNKNOWN
    return code


def _wind_up(process: subprocess.Popen[bytes], stopped: Stopped) -> None:
    """Interrupt pytest and wait for what it does then, telling so every few seconds; a second signal ends the wait."""
    tell(
        f"{stopped}; cleaning up: running cases end, their services and namespaces go, the report is written "
        f"({STOP_SECONDS_MAX:.0f} s at most; once more to end it at once)"
    )
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    with contextlib.suppress(Stopped):
        while process.poll() is None and (passed := time.monotonic() - began) < STOP_SECONDS_MAX:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(HEARTBEAT_SECONDS, STOP_SECONDS_MAX - passed))
                return
            tell(f"  {time.monotonic() - began:3.0f} s  still cleaning up")
    if process.poll() is None:
        tell("pytest is ended before it could clean up: namespaces labelled meshproof.dev/run may be left in the fleet")
