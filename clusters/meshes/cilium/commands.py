"""The one way this package runs another program: a list of words, a deadline, and an error that can be repeated.

No shell, nothing inherited on standard input, and output as text. What a command must not show (keys) goes through
files, never through its words.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_QUOTED_LINES = 12


class CommandFailed(Exception):
    """A command ended badly, or not in time; the message has its last lines and how to repeat it."""

    def __init__(self, argv: Sequence[str], what: str, output: str) -> None:
        tail = output.strip().splitlines()[-_QUOTED_LINES:]
        super().__init__("\n".join([f"{argv[0]} {what}", *tail, f"to repeat it: {shlex.join(argv)}"]))


def run(argv: Sequence[str], *, seconds: float, feed: bytes | Path | None = None) -> str:
    """The standard output of a command that succeeds within `seconds`; `feed` is its standard input.

    Raises `CommandFailed` for any other end.
    """
    started = time.monotonic()
    try:
        if isinstance(feed, Path):
            with feed.open("rb") as file:
                done = subprocess.run(list(argv), stdin=file, capture_output=True, timeout=seconds)
        else:
            done = subprocess.run(list(argv), input=feed or b"", capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        seen = _text(error.stdout) + _text(error.stderr)
        raise CommandFailed(argv, f"was still running after {time.monotonic() - started:.0f} s", seen) from None
    except OSError as error:
        raise CommandFailed(argv, f"could not be started: {error}", "") from None
    if done.returncode:
        raise CommandFailed(argv, f"ended with status {done.returncode}:", _text(done.stderr) or _text(done.stdout))
    return _text(done.stdout)


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")
