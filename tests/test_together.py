"""Questions asked side by side are each judged as if asked alone."""

from __future__ import annotations

import pytest

from meshproof.fixtures.history import CONTROL, Match
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.together import Question, side_by_side, unanswered
from meshproof.fixtures.verdicts import CannotTell, PromiseBroken
from tests.simulated import FAR, NEAR, Simulate, simulate

__all__ = ["simulate"]

ANY = Match(outcome=Outcome.REACHED)


def test_each_question_is_an_expectation_of_its_own(simulate: Simulate) -> None:
    """Two questions about one change, asked in the same batches, are written down one after the other."""
    prober = simulate(lambda at: "west" if at >= 2.0 else "east")
    questions = Question(prober, FAR, "far answers", 3), Question(prober, ANY, "somebody answers", 3, role=CONTROL)
    side_by_side(*questions, within=10.0, since=0.0)
    written = [entry for _, entry in prober.recorder.history().expectations()]
    assert [(entry.name, entry.role, entry.since) for entry in written] == [
        ("far answers", "claim", 0.0),
        ("somebody answers", "control", 0.0),
    ]


def test_the_one_that_does_not_hold_is_named(simulate: Simulate) -> None:
    """A broken promise among kept ones raises, with its name."""
    prober = simulate(lambda _: "east")
    with pytest.raises(PromiseBroken, match="far answers"):
        side_by_side(Question(prober, NEAR, "near answers", 3), Question(prober, FAR, "far answers", 3), within=3.0)


def test_what_cannot_be_seen_is_unknown(simulate: Simulate) -> None:
    """With nothing but harness errors it ends soon and does not tell."""
    prober = simulate(lambda _: "lost")
    with pytest.raises(CannotTell):
        side_by_side(Question(prober, NEAR, "near answers", 3), within=100.0)
    assert prober.time < 10.0


def test_nobody_answers_however_that_looks(simulate: Simulate) -> None:
    """Refused or silent: what comes instead of answers is what is written down; answers that go on are no control."""
    prober = simulate(lambda at: "timed-out" if at >= 2.0 else "east")
    unanswered(prober, within=20.0, name="nobody answers")
    [(_, written)] = prober.recorder.history().expectations()
    assert written.expect == Match(outcome=Outcome.TIMED_OUT)


def test_answers_that_go_on_are_not_silence(simulate: Simulate) -> None:
    """The control does not hold while somebody still answers."""
    with pytest.raises(CannotTell, match="control"):
        unanswered(simulate(lambda _: "east"), within=3.0, name="nobody answers")
