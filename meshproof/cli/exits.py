"""How a command ends: its exit codes, and signals turned into an exception so that clean-up code runs.

Codes 0 to 5 are pytest's and keep its meaning.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType


class Exit(IntEnum):
    """Exit codes that meshproof itself gives; a run's others are pytest's."""

    OK = 0
    FAULT = 3
    USAGE = 4
    NOTHING = 5
    UNFIT = 10
    UNKNOWN = 11
    NOBODY_READS = 128 + signal.SIGPIPE


class Refused(Exception):
    """What was asked for cannot be meant, or would test nothing; the message is one clear sentence."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


class Stopped(KeyboardInterrupt):
    """Somebody asked the command to end (Ctrl-C, SIGTERM, SIGHUP); exit code 128 + `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)


def _note(_number: int, _frame: FrameType | None) -> None:
    """Nothing: unlike SIG_IGN this is not inherited by the commands that clean up."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, the three signals raise `Stopped` in the main thread. A SIGHUP that is ignored (nohup) stays so.

    A SIGINT that is ignored, as a shell has it for what it starts with `&`, does nothing to us but is not inherited:
    pytest is ended by it, and would go on.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number in _SIGNALS:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, _stop)
            elif number == signal.SIGINT:
                signal.signal(number, _note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, the three signals do nothing: for a short clean-up that must not be cut in half."""
    before = {number: signal.signal(number, _note) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
