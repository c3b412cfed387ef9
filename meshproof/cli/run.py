"""Run a suite against a fleet and print the verdict. A fleet that is up is used and left up; else one is brought
up for the run and taken down after it, also after Ctrl-C (once: report and tidy up; twice: do not wait for pytest).

suites: conformance (default), all (every suite that is built); chaos and load are not built yet (exit 10)
exit codes: 0 green, 1 a promise was broken, 11 could not tell, 10 unfit environment, 2 to 5 as pytest's, 130 Ctrl-C
examples:
  meshproof run conformance --fleet two
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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from meshproof.cli.exits import Exit, Stopped, undisturbed
from meshproof.cli.output import tell

if TYPE_CHECKING:
    from meshproof.clusters.fleet import FleetSpec

NAME = "run"
HELP = "run a suite against a fleet"
SUITES = ("conformance", "chaos", "load", "all")
BUILT = ("conformance",)
STOP_SECONDS_MAX = 60.0
"""How long an interrupted pytest may take to write its report and remove its namespaces."""


def seed(text: str) -> int:
    """An argparse type: a whole number from 0."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("suite", nargs="?", choices=SUITES, default="conformance", metavar="SUITE", help="|".join(SUITES))
    own.add_argument("--fleet", default="two", metavar="FLEET", help="a fleet file or a built-in fleet (default: two)")
    own.add_argument("--seed", type=seed, metavar="N", help="seed of the run (default: drawn, and printed)")
    own.add_argument("-k", dest="expression", metavar="EXPR", help="only the cases that match, as for pytest")
    own.add_argument("--keep", action="store_true", help="leave the fleet up that this run brought up")
    own.add_argument("--strict", action="store_true", help="unsupported and not built are red too")
    own.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where to (default: runs)")


def execute(options: argparse.Namespace) -> int:
    from meshproof.clusters.fleet import EnvironmentUnfit
    from meshproof.clusters.fleetfile import load, resolve

    if options.suite not in (*BUILT, "all"):
        raise EnvironmentUnfit(f"suite {options.suite} is not built yet; there is {', '.join(BUILT)}")
    spec = load(resolve(options.fleet))
    with _fleet(spec, keep=options.keep):
        return _pytest(_command(options, spec))


@contextlib.contextmanager
def _fleet(spec: FleetSpec, *, keep: bool) -> Iterator[None]:
    """The fleet, up. What was up before stays up."""
    from meshproof.clusters.embedded.provider import EmbeddedProvider

    provider = EmbeddedProvider()
    # One that is starting is somebody else's too; `up` waits for it.
    lent = provider.status(spec.name).phase in {"starting", "ready"}
    provider.up(spec, tell)  # ends in nothing, or in a fleet that is up
    try:
        yield
    finally:
        if keep and not lent:
            tell(f"fleet {spec.name} stays up; end it with: meshproof down {spec.name}")
        elif not lent:
            with undisturbed():
                provider.down(spec.name, tell)


def _command(options: argparse.Namespace, spec: FleetSpec) -> list[str]:
    from meshproof.clusters.places import state_directory

    suites = [str(Path(__file__).parents[1] / suite) for suite in BUILT]
    again = shlex.join(["meshproof", "run", options.suite, "--fleet", options.fleet])
    command = [sys.executable, "-m", "pytest", *suites]
    command += ["--fleet", str(spec.source), "--runs-dir", str(options.runs_dir)]
    command += ["--rerun-command", again, "-o", f"cache_dir={state_directory() / 'pytest-cache'}"]
    if options.seed is not None:
        command += ["--seed", str(options.seed)]
    if options.expression is not None:
        command += ["-k", options.expression]
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
        tell(f"{stopped}: pytest writes its report; once more to end it at once")
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, Stopped):
            process.wait(STOP_SECONDS_MAX)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code < 0:
        tell(f"pytest was ended by {signal.Signals(-code).name}; no verdict can be given")
        return Exit.UNKNOWN
    return code
