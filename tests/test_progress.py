"""The status line: seen at a terminal only, never in the way of what pytest writes."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from _pytest._io import TerminalWriter

from meshproof.fixtures import progress
from meshproof.fixtures.progress import StatusLine


@dataclass
class Terminal:
    """As much of a pytest configuration as the line needs, with a terminal that keeps what it is told."""

    isatty: bool = True
    file: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.writer = TerminalWriter(self.file)
        self.writer.fullwidth = 20
        self.pluginmanager = self

    def get_plugin(self, name: str) -> Terminal | None:
        return self if name == "terminalreporter" else None

    def get_terminal_writer(self) -> TerminalWriter:
        return self.writer


def line(terminal: Terminal) -> StatusLine:
    return StatusLine(cast(Any, terminal))


def test_it_is_behind_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text follows the dots, cut to the room there is, and the cursor goes back; clearing erases it."""
    monkeypatch.setattr(progress, "SILENT_SECONDS_MAX", 0.0)
    terminal = Terminal()
    terminal.writer.write("dots ....")
    status = line(terminal)
    status.show("12 under way, 3 judged")
    status.clear()
    assert terminal.file.getvalue() == "dots ....\x1b[K 12 under \x1b[10D\x1b[K"
    assert terminal.writer.width_of_current_line == 9


def test_it_is_silent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor a terminal on which something has just been written gets it."""
    busy, log = Terminal(), Terminal(isatty=False)
    line(busy).show("1 under way")
    monkeypatch.setattr(progress, "SILENT_SECONDS_MAX", 0.0)
    status = line(log)
    status.show("1 under way")
    status.clear()
    assert (busy.file.getvalue(), log.file.getvalue()) == ("", "")
