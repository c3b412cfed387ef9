"""A second, tiny pytest plugin: plain `pytest --fleet …` leaves the same files and page as `meshproof run`.

It stands apart from the plugin in `fixtures/` because that layer may not know of reports; without that
plugin its hook is never called, and it does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # every pytest session loads this file, so all else is imported only when a run has ended
    from pathlib import Path

    from meshproof.fixtures.results import RunResult
    from meshproof.report.page import Line

_PAGE: pytest.StashKey[tuple[Line, ...]] = pytest.StashKey()


@pytest.hookimpl(optionalhook=True)
def pytest_meshproof_run_finished(run: RunResult, run_dir: Path, config: pytest.Config) -> None:
    """Write every report beside the raw results and keep the page for the terminal."""
    from meshproof.report import write_all
    from meshproof.report.console import page
    from meshproof.report.view import view

    write_all(run, run_dir)
    config.stash[_PAGE] = page(view(run), run_dir)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the page; pytest's own summary line follows it."""
    lines = config.stash.get(_PAGE, ())
    if not lines:
        return
    from meshproof.report.page import MARKUP, printable

    terminalreporter.ensure_newline()
    for line in lines:
        for piece in line:
            terminalreporter.write(printable(piece.text), **MARKUP[piece.style])
        terminalreporter.line("")
