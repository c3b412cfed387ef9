"""Live waits raise exactly what the checker says of the history they leave."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshproof.fixtures.checkers import check
from meshproof.fixtures.history import Match, Observation, load
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.verdicts import CannotTell, PromiseBroken, Verdict
from meshproof.fixtures.waits import LOOKED_AWAY, consistently, eventually, stuck
from tests.simulated import FAR, NEAR, STEP, Simulate, Simulated, simulate

__all__ = ["simulate"]


def test_it_stops_as_soon_as_it_has_converged(simulate: Simulate) -> None:
    """The time taken is when the first matching probe was due, and no bound is waited out."""
    prober = simulate(lambda at: "west" if at >= 3.0 else "east")
    taken = eventually(prober, FAR, within=10.0, name="the far cluster answers")
    assert 3.0 <= taken < 3.3
    assert prober.time < 6.0
    assert check(load(prober.recorder.path)).verdict is Verdict.PASSED


def test_a_row_begun_before_the_bound_is_seen_to_its_end(simulate: Simulate) -> None:
    """Converged just in time is passed, though the row ends after the bound."""
    prober = simulate(lambda at: "west" if at >= 1.9 else "east")
    assert 1.9 <= eventually(prober, FAR, within=2.0, name="the far cluster answers") < 2.0


def test_a_watch_of_a_past_moment_is_as_long(simulate: Simulate) -> None:
    """With `since` in the past, the watch itself still lasts `during`."""
    prober = simulate(lambda _: "west")
    prober.time = 5.0
    assert consistently(prober, FAR, during=20.0, since=0.5, name="it goes on") >= 20.0


@pytest.mark.parametrize("answer", ["east", "timed-out"])
def test_a_broken_promise_is_seen_past_the_bound(simulate: Simulate, answer: str) -> None:
    """What never comes is failed, soon after the bound, and the stored history says the same."""
    prober = simulate(lambda _: answer)
    with pytest.raises(PromiseBroken) as caught:
        eventually(prober, FAR, within=10.0, name="the far cluster answers")
    assert 10.0 < prober.time < 14.0
    assert check(load(prober.recorder.path)) == caught.value.judgement


def test_late_is_failed_and_says_how_late(simulate: Simulate) -> None:
    """Converged a second after the bound is failed."""
    prober = simulate(lambda at: "west" if at >= 11.0 else "east")
    with pytest.raises(PromiseBroken):
        eventually(prober, FAR, within=10.0, name="the far cluster answers")


def test_the_message_has_four_parts(simulate: Simulate) -> None:
    """Promised, seen (counts, last, elapsed, allowed), evidence, and the command to run it again."""
    prober = simulate(lambda at: "timed-out" if at < 1.0 else "east")
    with pytest.raises(PromiseBroken) as caught:
        eventually(prober, FAR, within=2.0, name="the far cluster answers")
    promised, seen, evidence, again = str(caught.value).splitlines()
    assert promised.startswith(
        "promised: the far cluster answers (east/client-0 → echo.ns:80/tcp: answered from cluster west"
    )
    assert "within 2 s" in promised
    assert "east → timed-out" in seen
    assert "last: reached from cluster east" in seen
    assert "allowed 2 s" in seen
    assert evidence.startswith(f"evidence: {prober.recorder.path}:2-")
    assert again == "again: meshproof run conformance --fleet two -k 'DISC-04[east-west]' --seed 7"


def test_a_control_passes_though_nothing_is_claimed_yet(simulate: Simulate) -> None:
    """A case reads control, act, claim; only the last makes it passed."""
    prober = simulate(lambda at: "west" if at < 5.0 else "east")
    eventually(prober, FAR, within=5.0, name="far can answer", role="control")
    assert check(prober.recorder.history()).verdict is Verdict.UNKNOWN
    since = prober.recorder.event("annotate").at
    eventually(prober, NEAR, within=10.0, name="near takes over", since=since)
    assert consistently(prober, NEAR, during=3.0, name="near keeps answering") >= 3.0
    assert check(load(prober.recorder.path)).verdict is Verdict.PASSED


def test_a_broken_control_is_ours(simulate: Simulate) -> None:
    """The same history that fails a claim makes a control CannotTell."""
    prober = simulate(lambda _: "east")
    with pytest.raises(CannotTell, match="control did not hold"):
        eventually(prober, FAR, within=2.0, name="far can answer", role="control")


def test_one_wrong_answer_ends_a_watch(simulate: Simulate) -> None:
    """consistently fails in the batch in which it is broken."""
    prober = simulate(lambda at: "west" if 2.0 <= at < 2.05 else "east")
    with pytest.raises(PromiseBroken, match="1 of "):
        consistently(prober, NEAR, during=30.0, name="near keeps answering")
    assert prober.time < 4.0


def stalling(prober: Simulated, batches: Sequence[int]) -> Simulated:
    """The same, but that these of its batches begin almost two seconds late."""
    ask = prober.batch

    def late(count: int) -> Sequence[Observation]:
        prober.time += 1.9 if prober.batches in batches else 0.0
        return ask(count)

    prober.batch = late  # type: ignore[method-assign]  # of this one prober
    return prober


def test_a_watch_in_which_nobody_looked_begins_anew(simulate: Simulate) -> None:
    """While all answers match; stalls without end are unknown, and a wrong answer is looked at once only."""
    prober = stalling(simulate(lambda _: "east"), [2])
    assert consistently(prober, NEAR, during=3.0, name="near keeps answering") >= 3.0
    assert [event.name for _, event in prober.recorder.history().events()] == [LOOKED_AWAY]
    assert check(load(prober.recorder.path)).verdict is Verdict.PASSED

    prober = stalling(simulate(lambda _: "east"), range(1000))
    with pytest.raises(CannotTell, match="without observations"):
        consistently(prober, NEAR, during=3.0, name="near keeps answering")

    prober = stalling(simulate(lambda at: "west" if 6.0 < at < 6.1 else "east"), [2])
    with pytest.raises(PromiseBroken):
        consistently(prober, NEAR, during=3.0, name="near keeps answering")


def test_a_dead_control_channel_is_given_up(simulate: Simulate) -> None:
    """Three batches without one usable row end the wait, long before the bound, as CannotTell."""
    prober = simulate(lambda _: "lost")
    with pytest.raises(CannotTell):
        eventually(prober, FAR, within=600.0, name="the far cluster answers")
    assert prober.batches == 3


def test_a_hiccup_is_not_the_end(simulate: Simulate) -> None:
    """One batch lost to the harness, and convergence seen afterwards, is passed; a watch it interrupts is unknown."""
    prober = simulate(lambda at: "lost" if at < 1.2 else "west")
    eventually(prober, FAR, within=10.0, name="the far cluster answers")
    begun = prober.time
    prober.answers = lambda at: "lost" if 1.0 < at - begun < 1.1 else "west"
    with pytest.raises(CannotTell, match="unusable"):
        consistently(prober, FAR, during=3.0, name="and goes on")
    assert prober.time - begun < 10.0


def test_empty_batches_are_unknown(simulate: Simulate) -> None:
    """A prober that returns nothing at all gets no verdict out of it."""
    prober = simulate(lambda _: "east")
    prober.silent = True
    with pytest.raises(CannotTell, match="no observation"):
        eventually(prober, FAR, within=1.0, name="the far cluster answers")


def test_another_prober_in_between_is_refused(simulate: Simulate) -> None:
    """Its rows would be judged with ours; the case is aborted as unknown, live and stored."""
    prober = simulate(lambda at: "west" if at >= 1.0 else "east")
    prober.intruder = True
    with pytest.raises(CannotTell, match="another prober"):
        eventually(prober, FAR, within=10.0, name="the far cluster answers")
    assert check(load(prober.recorder.path)).verdict is Verdict.UNKNOWN


def test_including_waits_for_the_one(simulate: Simulate) -> None:
    """Every answer counts, and one of the row comes from afar."""
    prober = simulate(lambda at: "west" if at >= 3.0 and int(at / STEP) % 3 == 0 else "east")
    taken = eventually(prober, Match(outcome=Outcome.REACHED), including=FAR, within=10.0, name="both answer")
    assert 1.5 < taken < 3.3


def test_a_pin_is_watched_and_kept(simulate: Simulate) -> None:
    """One pod the whole time is stuck; a later watch is held against the earlier one."""
    prober = simulate(lambda at: "west" if at < 20.0 else "east")
    lines = stuck(prober, during=2.0, name="it stays with one backend")
    again = stuck(prober, during=2.0, after=lines, name="it stays when others come")
    assert again.start == lines.start
    prober.time = 25.0
    with pytest.raises(PromiseBroken, match="answered by 2 pods"):
        stuck(prober, during=2.0, after=again, name="it stays when others go")
    assert check(load(prober.recorder.path)).verdict is Verdict.FAILED


def test_a_pin_that_is_lost_is_noticed(simulate: Simulate) -> None:
    """Two pods by turns are no pin, live and stored."""
    prober = simulate(lambda at: "west" if int(at / STEP) % 2 else "east")
    with pytest.raises(PromiseBroken) as caught:
        stuck(prober, during=1.0, name="it stays with one backend")
    assert check(load(prober.recorder.path)) == caught.value.judgement


def test_what_is_only_observed_never_raises(simulate: Simulate) -> None:
    """An observed wait that comes to nothing returns infinity, and the case goes on."""
    prober = simulate(lambda at: "east")
    assert eventually(prober, FAR, within=2.0, name="far answers", role="observed") == float("inf")
    assert eventually(prober, NEAR, within=2.0, name="near answers") >= 0
    assert check(load(prober.recorder.path)).verdict is Verdict.PASSED


def test_each_of_several_must_answer(simulate: Simulate) -> None:
    """Several in `including` are all waited for, and a missing one is named."""
    prober = simulate(lambda at: "west" if at >= 3.0 and int(at / STEP) % 3 == 0 else "east")
    assert eventually(prober, Match(outcome=Outcome.REACHED), including=(NEAR, FAR), within=10.0, name="both") > 1.5
    lonely = simulate(lambda at: "east")
    with pytest.raises(PromiseBroken, match="none was answered from cluster west"):
        eventually(lonely, Match(outcome=Outcome.REACHED), including=[NEAR, FAR], within=2.0, name="both answer")
