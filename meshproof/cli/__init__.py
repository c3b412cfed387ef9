"""The meshproof command: one module per verb, and what they share around them.

Results go to stdout, progress and complaints to stderr. `main` turns what a verb raises
into an exit code and one sentence. Nothing heavy is imported before a verb runs, so that
`--help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import meshproof
from meshproof.cli import (
    cleanup,
    describe,
    doctor,
    down,
    images,
    listing,
    plan,
    prove,
    rbac,
    replay,
    report,
    run,
    status,
    up,
    values,
)
from meshproof.cli.exits import Exit, Refused, Stopped, stoppable
from meshproof.clusters.fleet import EnvironmentUnfit

if TYPE_CHECKING:
    from pathlib import Path

VERBS = (doctor, up, status, down, listing, describe, run, prove, report, replay, plan, rbac, cleanup, images, values)

_ABOUT = """\
Does a multi-cluster Kubernetes network keep its promises? meshproof sends traffic between pods and judges the answers.

examples:
  meshproof doctor                                  can this machine carry an embedded fleet?
  meshproof run conformance --fleet two             bring a fleet up, test it, take it down
  meshproof up three                                bring a fleet up and keep it, for kubectl or many runs
  meshproof run --fleet three -k DISC-04 --seed 7   one requirement, the same seed as before
  meshproof prove                                   does the suite notice the defects it should?
  meshproof doctor --context east --context west    can a run stand on clusters somebody else made?
  meshproof down --all                              take every fleet down, however it died
"""
_EXITS = """\
exit codes:
  0 all is well        1 a promise was broken     2 the run was interrupted   3 meshproof itself failed
  4 wrong usage        5 nothing was tested       10 this machine, fleet file or fleet cannot be used
  11 a verdict could not be reached               130 Ctrl-C, 143 SIGTERM

environment: MESHPROOF_STATE (fleets and their keys), MESHPROOF_CACHE (built binaries), KUBEBUILDER_ASSETS (your own)
"""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Parser(argparse.ArgumentParser):
    """argparse with pytest's code for wrong usage (4), because 2 says that a run was interrupted.

    An option it does not have is said to be one: argparse itself would take the word after it for something else.
    """

    def parse_known_args(  # type: ignore[override]  # argparse's own overloads, as one
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:  # a verb's own; what stands before the verb is argparse's to judge
            self._refuse_unknown_options(words)
        return super().parse_known_args(words, namespace)

    def _refuse_unknown_options(self, words: Sequence[str]) -> None:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words:
            option = word.partition("=")[0] if word.startswith("--") else word[:2]
            if option in self._option_string_actions or not re.match(r"--?[A-Za-z]", option):
                continue
            near = difflib.get_close_matches(option, known, n=1) if option.startswith("--") else ()
            hint = f", did you mean {near[0]}?" if near else ""
            pytest_too = "; what is meant for pytest goes after --" if self.prog.endswith(" run") and not near else ""
            self.error(f"no such option {option}{hint}{pytest_too}")

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message}{' ' if message.endswith('?') else '; '}see {self.prog} --help\n")


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="meshproof",
        description=_ABOUT,
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"meshproof {meshproof.__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in VERBS:
        own = verbs.add_parser(
            verb.NAME,
            help=verb.HELP,
            description=verb.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.arguments(own)
        own.set_defaults(execute=verb.execute, pytest_arguments=())
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    _have_stdout()
    words = tuple(sys.argv[1:] if argv is None else argv)
    own, after = _split(words)
    try:
        options = parser().parse_args(own)
    except SystemExit as ended:  # argparse's --help, --version and errors
        return _flushed(int(ended.code or 0))
    if after:
        if options.execute is not run.execute:
            return _complain("only `meshproof run` passes arguments after -- on", Exit.USAGE)
        options.pytest_arguments = after
    try:
        with stoppable():
            return _flushed(options.execute(options))
    except (EnvironmentUnfit, Refused) as refusal:
        return _complain(str(refusal), refusal.code if isinstance(refusal, Refused) else Exit.UNFIT)
    except Stopped as stopped:
        return _complain(str(stopped), 128 + stopped.number)
    except BrokenPipeError:
        return _deaf()
    except OSError as error:
        if error.errno in _NO_ROOM:
            where = f" ({error.filename})" if error.filename else ""
            return _complain(f"cannot write: {error.strerror}{where}", Exit.UNFIT)
        return _unexpected(error, debug=options.debug)
    except Exception as error:  # noqa: BLE001  # the outermost frame: a sentence, and the traceback kept
        return _unexpected(error, debug=options.debug)


def _have_stdout() -> None:
    """Whoever closed it before calling us is content with the exit code."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is meant for us, and what stands after the first `--`."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _flushed(code: int) -> int:
    """The code, once everything printed has really been taken."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _deaf()
    return code


def _deaf() -> int:
    """The reader of our output went away, as `head` does: end like any other command that SIGPIPE ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.NOBODY_READS


def _complain(message: str, code: int) -> int:
    print("\n".join(f"meshproof: {line}" for line in message.splitlines()), file=sys.stderr)
    return code


def _unexpected(error: BaseException, *, debug: bool) -> int:
    import traceback

    text = "".join(traceback.format_exception(error))
    if debug:
        print(text, file=sys.stderr)
    kept = _keep(text)
    where = f"the traceback is in {kept}" if kept else "--debug shows the traceback"
    first_line = next(iter(str(error).splitlines()), "")
    sentence = f"unexpected {type(error).__name__}: {first_line}; this is a fault of meshproof, {where}"
    return _complain(sentence, Exit.FAULT)


def _keep(text: str) -> Path | None:
    from meshproof.clusters.places import state_directory

    try:
        state_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
        path = state_directory() / "last-error.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return None
    return path
