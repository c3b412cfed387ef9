"""For each rule a minimal pair: two histories that differ in one thing, and in their verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshproof.fixtures.checkers import check, find, longest_gap_seconds, matches
from meshproof.fixtures.history import Answerer, Entry, Event, History, Match
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.verdicts import Verdict
from tests.histories import (
    ANY,
    CASE,
    FAILED,
    FAR,
    PASSED,
    UNKNOWN,
    consistently,
    eventually,
    history,
    probe,
    row,
    verdict,
)


# Bound 4 s, a probe each 0.5 s: index 8 is due at 4.0, exactly the bound; gaps above 1 s hide things.
@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("www", PASSED),
        ("eeeewww", PASSED),
        ("eeeeeeeewww", PASSED),  # first of the window due at the bound itself
        ("eeeeeeeeewww", UNKNOWN),  # due after it, but nothing seen wrong after it: it may have begun in between
        ("eeeeeeeeeewww", FAILED),  # still wrong after the bound
        ("eeeeeeeeee", FAILED),
        ("eeeeeeeee", UNKNOWN),  # the last one is due at the bound: not watched past it
        ("eeeeeeeeww", UNKNOWN),  # two in a row, not three, and then nobody looked
        ("eeeeeeeewwe", FAILED),  # the row that began in time did not last
        ("wwewwewwewwe", FAILED),  # never three in a row
        ("wwewwwewwe", PASSED),
        ("tttttttttt", FAILED),  # a time-out is a definite outcome
        ("wwh", UNKNOWN),  # a harness error is no match
        ("hwww", PASSED),
        ("wwhwww", PASSED),
        ("eeeehhheeee", UNKNOWN),  # three could have matched unseen
        ("eeeeheeeeee", FAILED),  # one could not
        ("eeeehheeeee", UNKNOWN),  # 1.5 s without one usable answer is a gap
        ("eeewhweeeee", UNKNOWN),  # one lost probe between two matches could have
        ("eeewheeeeee", FAILED),  # but not between one and none
        ("eee???eeeee", UNKNOWN),  # an answer that does not say from where is no answer
        ("hhhhhhhhhhhh", UNKNOWN),
        ("eeee   eeeee", UNKNOWN),  # 2 s unseen
        ("eeee eeeee", FAILED),  # 1 s unseen is no gap
        ("w   ww", UNKNOWN),  # a window does not reach over a gap
        ("w ww", PASSED),
        ("w      eeww", UNKNOWN),
        ("   eeeeeee", UNKNOWN),  # nothing seen for the first 1.5 s
        ("  eeeeeeeee", FAILED),
        ("eeeeeee    www", UNKNOWN),  # late perhaps, or in the gap before the bound
        ("eeeeeeeeee    www", FAILED),
        ("eeee    hh", UNKNOWN),
    ],
)
def test_eventually(letters: str, expected: Verdict) -> None:
    """Passed as soon as it surely came in time, failed once it surely did not, else unknown."""
    assert verdict(row(letters), eventually()) is expected


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("eew", PASSED),
        ("eee", UNKNOWN),
        ("eeeeeeeeeeee", FAILED),
        ("eeeeeeeeeew", PASSED),  # window of indices 8, 9, 10 begins at the bound
        ("eeeeeeeeeeew", UNKNOWN),
        ("eeeeeeeeeeeew", FAILED),
        ("ewtewtewtewtew", FAILED),  # west was seen, but never in three answers in a row
        ("tewe", PASSED),
        ("eeeeeee?eeee", UNKNOWN),  # that one may have been west
        ("eeeeeeeeee?eee", UNKNOWN),
        ("eeeeeeeeeeeee?", FAILED),
        ("eeehewe", PASSED),
        ("eehwhee", UNKNOWN),
    ],
)
def test_eventually_including(letters: str, expected: Verdict) -> None:
    """The one that is included lies in the same window, and the window's first decides when."""
    assert verdict(row(letters), eventually(ANY, including=FAR)) is expected


@pytest.mark.parametrize(("lost", "expected"), [("hh", FAILED), ("hhh", UNKNOWN)])
def test_lost_probes_hide_only_what_they_could_have_been(lost: str, expected: Verdict) -> None:
    """Two lost probes cannot have been three matches in a row; three can."""
    assert verdict(row("e" * 8 + lost + "e" * 20, step=0.2), eventually()) is expected


@pytest.mark.parametrize(("blur", "expected"), [(0.25, PASSED), (0.75, UNKNOWN)])
def test_blur_keeps_a_pass_from_being_sure(blur: float, expected: Verdict) -> None:
    """A window that begins less than its blur before the bound may have begun after it."""
    assert verdict(row("eeeewwww", begin=1.5, blur=blur), eventually(within=4.0)) is expected


@pytest.mark.parametrize(("blur", "expected"), [(0.4, FAILED), (0.5, UNKNOWN)])
def test_blur_keeps_a_failure_from_being_sure(blur: float, expected: Verdict) -> None:
    """A wrong answer 0.5 s after the bound is surely after it only when the clock is that good."""
    assert verdict(row("e" * 9, begin=0.5, blur=blur), eventually()) is expected


@pytest.mark.parametrize(("late", "expected"), [(0.0, PASSED), (5.0, UNKNOWN)])
def test_a_prober_that_stalled_does_not_antedate(late: float, expected: Verdict) -> None:
    """Probes due in time but made after the bound do not show that the network was right in time."""
    seen = [replace(one, start=5.0 + one.due / 100, end=6.0) if late else one for one in row("www", begin=1.0)]
    assert verdict(seen, eventually()) is expected


@pytest.mark.parametrize(("since", "expected"), [(0.0, PASSED), (0.2, UNKNOWN)])
def test_what_came_before_since_is_no_evidence(since: float, expected: Verdict) -> None:
    """One probe of the window due before the act, and the window is one short."""
    assert verdict(row("www"), eventually(since=since)) is expected


def test_a_probe_on_the_edge_of_since_neither_passes_nor_fails() -> None:
    """Within the blur of the act a match may be from before; a mismatch likewise."""
    assert verdict(row("www", begin=0.1, blur=0.2), eventually()) is UNKNOWN
    assert verdict(row("wwww", begin=0.1, blur=0.2), eventually()) is PASSED
    assert verdict(row("www" + "e" * 12, begin=0.1, blur=0.2), eventually()) is UNKNOWN
    assert verdict(row("www" + "e" * 12, begin=-1.5, blur=0.2), eventually()) is FAILED
    assert verdict(row("wwwwwwww", begin=0.1, blur=0.2), consistently()) is PASSED
    assert verdict(row("ewwwwwww", begin=0.1, blur=0.2), consistently()) is UNKNOWN
    assert verdict(row("ewwwwww", begin=-0.5), consistently()) is PASSED


def test_the_order_is_by_due_time_and_then_by_number() -> None:
    """Rows written in another order are judged in the order they were due."""
    first, second = row("www"), row("eee", begin=1.5)
    assert verdict([one for two in zip(first, second, strict=True) for one in two], eventually()) is PASSED
    assert verdict(row("wewewe"), eventually()) is UNKNOWN
    together = [probe(letter, 1.0) for letter in "wwwe"]
    assert verdict(together, eventually()) is PASSED
    assert verdict([together[0], together[3], *together[1:3]], eventually()) is UNKNOWN


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("wwwww", PASSED),
        ("wwww", UNKNOWN),  # 1.5 s of 2
        ("wwwwwe", FAILED),
        ("ewwwww", FAILED),
        ("wwtww", FAILED),
        ("wwhww", UNKNOWN),
        ("wwhwe", FAILED),
        ("ww?ww", UNKNOWN),
        ("hhhhh", UNKNOWN),
        ("w   w", UNKNOWN),
        ("ww   w", UNKNOWN),  # 2 s unseen
        ("w w w", PASSED),
        ("   wwwww", UNKNOWN),  # the first 1.5 s unseen
        ("  wwwww", PASSED),
        ("", UNKNOWN),
    ],
)
def test_consistently(letters: str, expected: Verdict) -> None:
    """Every observation matches, there are enough of them, and they cover the time without a hole."""
    assert verdict(row(letters), consistently()) is expected


def test_a_watch_needs_enough_observations() -> None:
    """Five over the time are enough for five in a row, and not for six."""
    assert verdict(row("wwwww"), consistently(in_a_row=5)) is PASSED
    assert verdict(row("wwwww"), consistently(in_a_row=6)) is UNKNOWN


def test_a_watch_is_as_long_as_it_surely_was() -> None:
    """Blur at either end is taken off: 2 s give or take are not 2 s."""
    assert verdict(row("wwwwww", begin=0.5, blur=0.2), consistently()) is PASSED
    assert verdict(row("wwwwww", begin=0.5, blur=0.3), consistently()) is UNKNOWN


def test_a_stalled_prober_has_watched_nothing() -> None:
    """Probes due over 2 s but all made at its end saw one moment."""
    assert verdict([probe("w", 0.0), probe("w", 0.5, late=2.5), probe("w", 1.0, late=2.0)], eventually()) is UNKNOWN
    assert verdict([probe("w", 0.0), probe("w", 0.5, late=0.5), probe("w", 1.0)], eventually()) is PASSED
    stalled = [replace(one, start=2.5 + one.due / 100, end=3.0) for one in row("wwwww")]
    assert verdict(stalled, consistently()) is UNKNOWN


def test_the_failure_says_how_many_and_which() -> None:
    """Count, first, and its line are in the reason."""
    judgement = check(history((row("wwewe"), consistently())))
    assert judgement.reason.endswith(
        "2 of 5 observations did not match, the first 1.000 s in, reached from cluster east (line 4)"
    )


def test_every_stream_has_to_converge_and_hold() -> None:
    """A pod that stays wrong is not outvoted by one that is right, however their probes interleave."""
    right, wrong = row("w" * 12), row("e" * 12, pod="client-1")
    second = row("w" * 12, pod="client-1")
    for rule in (eventually(), consistently()):
        assert verdict([*right, *wrong], rule) is FAILED
        assert verdict([*right, *second], rule) is PASSED
        assert verdict([*right, *row("h" * 12, pod="client-1")], rule) is UNKNOWN
        assert verdict([*right, *wrong, *row("h" * 12, pod="client-2")], rule) is FAILED
    other = [replace(one, to="echo.ns:53/udp") for one in row("e" * 12)]
    assert verdict([*right, *other], eventually()) is FAILED


def test_a_window_is_of_one_stream() -> None:
    """Three matches, but two of one pod or target and one of another, are no three in a row; each includes its own."""
    elsewhere = [replace(one, to="echo.ns:53/udp") for one in row("w", begin=1.0)]
    assert verdict([*row("ww"), *elsewhere], eventually()) is UNKNOWN
    assert verdict([*row("ww"), *row("w", pod="client-1")], eventually()) is UNKNOWN
    never = [*row("e" * 12, pod="client-1")]
    assert verdict([*row("eew"), *never], eventually(ANY, including=FAR)) is FAILED


def test_time_taken_is_that_of_the_slowest_stream() -> None:
    """Two pods, converged after 0.5 s and 1 s: it took 1 s."""
    seen = [*row("ewww"), *row("eewww", pod="client-1")]
    assert find(eventually(), list(enumerate(seen))).seconds == 1.0


@pytest.mark.parametrize(("letters", "expected"), [("www", FAILED), ("eeeeeeeeee", UNKNOWN), ("ww", UNKNOWN)])
def test_a_control_that_does_not_hold_makes_it_unknown(letters: str, expected: Verdict) -> None:
    """The same broken claim is failed beside a control that held, and unknown beside one that did not."""
    control = (row(letters), eventually(role="control", name="far can answer"))
    claim = (row("e" * 12), consistently())
    for order in ((control, claim), (claim, control)):
        judgement = check(history(*order))
        assert judgement.verdict is expected
        assert (judgement.expectation == "far can answer") is (expected is UNKNOWN)
        assert ("control did not hold" in judgement.reason) is (expected is UNKNOWN)


def test_controls_alone_claim_nothing() -> None:
    """Without a claim the case is unknown, and no expectation is to blame; with one it can pass."""
    control = (row("www"), eventually(role="control"))
    assert check(history(control)) == check(history(control))
    assert (check(history(control)).verdict, check(history(control)).expectation) == (UNKNOWN, "")
    assert check(history(control, (row("wwwww"), consistently()))).verdict is PASSED


def test_a_failed_claim_goes_before_an_unknown_one() -> None:
    """One claim surely broken is enough, wherever it stands."""
    broken, open_ = (row("e" * 12), consistently(name="broken")), (row("ww"), eventually(name="open"))
    assert check(history(open_, broken)).expectation == "broken"
    assert check(history(broken, open_)).verdict is FAILED
    assert check(history(open_, (row("wwwww"), consistently()))).verdict is UNKNOWN


def test_an_aborted_case_cannot_pass_but_can_fail() -> None:
    """What was claimed may not be all that would have been."""
    end = Event("aborted", 9.0, {}, {"why": "the API server went away"})
    assert check(history((row("wwwww"), consistently()), end)).verdict is UNKNOWN
    assert check(history((row("e" * 12), consistently()), end)).verdict is FAILED
    assert check(history((row("wwwww"), consistently()), Event("annotate", 9.0))).verdict is PASSED


def test_nothing_is_unknown() -> None:
    """No entries, and claims without observations, are unknown; the latter by name."""
    assert check(History((CASE,))).verdict is UNKNOWN
    assert check(History((CASE, *row("www")))).verdict is UNKNOWN
    assert (check(history(([], eventually()))).verdict, check(history(([], eventually()))).expectation) == (
        UNKNOWN,
        "it comes",
    )


@pytest.mark.parametrize(
    ("over", "expected"),
    [((2, 6), PASSED), ((2, 7), FAILED), ((1, 6), UNKNOWN), ((2, 8), UNKNOWN), ((0, 6), UNKNOWN), ((2, 99), UNKNOWN)],
)
def test_only_observations_in_over_count(over: tuple[int, int], expected: Verdict) -> None:
    """Lines 2 to 6 match, 7 does not, 1 is the case and 8 the expectation itself."""
    entries: tuple[Entry, ...] = (CASE, *row("wwwwwe"), replace(consistently(), over=over))
    assert check(History(entries)).verdict is expected


def test_events_inside_over_are_passed_by() -> None:
    """What the test did meanwhile does not get in the way of what was seen."""
    seen = row("wwwww")
    entries: tuple[Entry, ...] = (
        CASE,
        *seen[:2],
        Event("annotate", 0.7),
        *seen[2:],
        replace(consistently(), over=(2, 7)),
    )
    assert check(History(entries)).verdict is PASSED


@pytest.mark.parametrize("match", [Match(cluster="west"), Match(not_cluster="west"), Match(cluster="west", pod="p")])
def test_an_answerer_that_does_not_know_its_cluster_says_nothing(match: Match) -> None:
    """An empty field is not another cluster; a field that does not match still decides."""
    seen = replace(probe("w", 0.0), by=Answerer("", "n", "ns", "p", "u", ""))
    assert matches(match, seen) is None
    assert matches(replace(match, pod="q"), seen) is False


@pytest.mark.parametrize(
    ("letter", "match", "expected"),
    [
        ("w", Match(cluster="west"), True),
        ("e", Match(cluster="west"), False),
        ("e", Match(not_cluster="west"), True),
        ("w", Match(not_cluster="west"), False),
        ("t", Match(not_cluster="west"), False),
        ("t", Match(outcome=Outcome.TIMED_OUT), True),
        ("h", Match(outcome=Outcome.TIMED_OUT), None),
        ("h", Match(not_cluster="west"), None),
        ("?", Match(outcome=Outcome.REACHED), True),
        ("?", Match(not_cluster="west"), None),
        ("?", Match(outcome=Outcome.TIMED_OUT), False),
        ("w", Match(cluster="west", pod="echo-west"), True),
        ("w", Match(cluster="west", pod="echo-east"), False),
        ("w", Match(peer="10.0.0.1"), True),
        ("w", Match(peer="10.0.0.2"), False),
    ],
)
def test_matches(letter: str, match: Match, expected: bool | None) -> None:
    """All given fields, an answer where an answerer is asked for, and None where the observation does not say."""
    assert matches(match, probe(letter, 0.0)) is expected


def test_the_gap_that_hides_grows_with_the_bound() -> None:
    """A quarter of it, from one second to five."""
    assert [longest_gap_seconds(bound) for bound in (0.1, 8.0, 600.0)] == [1.0, 2.0, 5.0]


def test_a_workload_that_changed_under_the_case_is_unknown() -> None:
    """A broken claim is no verdict on the network when our own pods died under it; without that it is failed."""
    step = (row("eeeeeeeeeeee"), eventually())
    assert check(history(step)).verdict is FAILED
    disturbed = check(history(step, Event("disturbed", 5.0, {}, {"why": "west/echo-1 restarted"})))
    assert disturbed.verdict is UNKNOWN
    assert "west/echo-1 restarted" in disturbed.reason
