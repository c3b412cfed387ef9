"""A command inside a running container and our ends of its streams: a pipe for each that is wanted, or one terminal.

Our ends never block. Whoever started the command closes them, and kills and awaits the process.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
from dataclasses import dataclass, field

from meshproof.clusters.embedded.nodeagent.container import Run
from meshproof.clusters.embedded.nodeagent.processes import Command, Processes

STDOUT, STDERR = 1, 2
"""The command's descriptors, and the exec protocol's channels for them."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and which of its streams are wanted; a terminal stands for all three."""

    command: tuple[str, ...]
    stdin: bool
    stdout: bool
    stderr: bool
    terminal: bool


@dataclass(slots=True)
class Pipes:
    """Our ends; -1 where there is none."""

    stdin: int = -1
    outputs: dict[int, int] = field(default_factory=dict)
    """descriptor -> channel"""
    terminal: int = -1

    def close(self) -> None:
        for descriptor in {self.stdin, self.terminal, *self.outputs} - {-1}:
            os.close(descriptor)
        self.stdin = self.terminal = -1
        self.outputs.clear()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size in characters. Raises OSError."""
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def start(processes: Processes, run: Run, wanted: Options) -> tuple[subprocess.Popen[bytes], Pipes]:
    """The command, inside the container, on fresh pipes or a terminal. Raises OSError, and then leaves none open."""
    made = Pipes()
    theirs: list[int] = []
    try:
        if wanted.terminal:
            ours, slave = os.openpty()
            theirs.append(slave)
            made.terminal = ours
            made.outputs[ours] = STDOUT
            ends = [slave, slave, slave]
        else:
            ends = [subprocess.DEVNULL] * 3
            if wanted.stdin:
                ends[0], made.stdin = os.pipe2(os.O_CLOEXEC)
                theirs.append(ends[0])
            for channel, asked in ((STDOUT, wanted.stdout), (STDERR, wanted.stderr)):
                if asked:
                    ours, ends[channel] = os.pipe2(os.O_CLOEXEC)
                    made.outputs[ours] = channel
                    theirs.append(ends[channel])
        for descriptor in {made.stdin, *made.outputs} - {-1}:
            os.set_blocking(descriptor, False)
        environment = {**run.plan.environment, **({"TERM": "xterm"} if wanted.terminal else {})}
        argv = run.enter(wanted.command, wanted.terminal)
        return processes.start(Command(argv, environment, ends[0], ends[1], ends[2])), made
    except BaseException:
        made.close()
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
