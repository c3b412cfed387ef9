"""The traffic program's time on paper: it stands still while anybody has something to say, and else passes at once.

A prober whose sockets are real then sees silence without waiting for it, and a machine that stands still costs it none
of its time-outs.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from meshproof.fixtures import traffic
from meshproof.fixtures.traffic import Plan, Prober

LOOKS, LOOK_SECONDS = 4, 0.001
"""What loopback carries is there at once, or a moment later where the kernel puts it off."""

HANG_SECONDS_MAX = 60.0


@dataclass
class PaperTime:
    """A clock that passes only while all are silent."""

    now: float = 1000.0
    busy: Callable[[], bool] = lambda: False
    """Whether somebody is about to say something, or has just done so."""

    def monotonic(self) -> float:
        return self.now

    def rows(self, plan: dict[str, Any], late: float = 0.0) -> list[dict[str, Any]]:
        """What the plan sees, by number; it should have begun `late` seconds ago."""
        rows: list[dict[str, Any]] = []
        self.run(Prober(Plan(plan), rows.append), late)
        return sorted(rows, key=lambda row: int(row["seq"]))

    def run(self, prober: Prober, late: float = 0.0) -> None:
        prober.run(self.now - late, lambda: True)


@pytest.fixture
def paper_time(monkeypatch: pytest.MonkeyPatch) -> PaperTime:
    """The time of all probers that the test makes."""
    paper = PaperTime()

    class Poll(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            looks, until = 0, time.monotonic() + HANG_SECONDS_MAX
            while looks < LOOKS:
                assert time.monotonic() < until, "who was to say something did not"
                looks = 0 if paper.busy() else looks + 1
                if heard := super().select(LOOK_SECONDS):
                    return heard
            paper.now += timeout or 0.0
            return []

    events = {"EVENT_READ": selectors.EVENT_READ, "EVENT_WRITE": selectors.EVENT_WRITE}
    monkeypatch.setattr(traffic, "selectors", SimpleNamespace(DefaultSelector=Poll, **events))
    monkeypatch.setattr(traffic, "time", paper)
    return paper
