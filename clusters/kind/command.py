"""How this package runs other programs: an argument list, a deadline, and an error that quotes the last words."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

QUOTED_LINES = 20


class CommandFailed(Exception):
    """A program ended badly or not in time; the message has its last lines and the line to repeat it by hand."""

    def __init__(self, line: str, reason: str, output: str) -> None:
        quoted = "\n".join(output.splitlines()[-QUOTED_LINES:])
        super().__init__(f"a command {reason}" + (f":\n{quoted}" if quoted else "") + f"\nby hand: {line}")


def by_hand(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """The line that a person types; what the environment differs in goes before it."""
    chosen = {name: value for name, value in (environment or {}).items() if os.environ.get(name) != value}
    return shlex.join(
        [*(["env", *(f"{name}={value}" for name, value in chosen.items())] if chosen else []), *arguments]
    )


def run(
    arguments: Sequence[str],
    *,
    seconds_max: float,
    stdin: bytes = b"",
    into: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What it printed on stdout, unless that goes `into` a file. Raises `CommandFailed`, also for no such program."""
    line = by_hand(arguments, environment)
    try:
        with open(into or os.devnull, "wb") as file:
            done = subprocess.run(
                arguments,
                input=stdin,
                stdout=file if into else subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=seconds_max,
                env={**os.environ, **(environment or {})},
                cwd="/",
            )
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(line, f"did not end within {seconds_max:.0f} s", _text(late.stderr)) from None
    except OSError as error:
        raise CommandFailed(line, f"cannot be run ({error.strerror})", "") from None
    if done.returncode:
        raise CommandFailed(line, f"ended with status {done.returncode}", _text(done.stderr) or _text(done.stdout))
    return _text(done.stdout)


def succeeds(arguments: Sequence[str], *, seconds_max: float, environment: Mapping[str, str] | None = None) -> bool:
    try:
        run(arguments, seconds_max=seconds_max, environment=environment)
    except CommandFailed:
        return False
    return True


def _text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")
