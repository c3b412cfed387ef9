"""For all tests of the suite itself."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A shell that starts the tests with & has them, and all they start, ignore Ctrl-C, which some are about."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
