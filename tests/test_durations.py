"""Percentiles and tallies: what is known of a stretch of time lies between two probes, and is judged so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproof.fixtures.checkers import check, find, measured
from meshproof.fixtures.history import Expectation, Match, Observation, Sample
from meshproof.fixtures.verdicts import Verdict
from tests.histories import (
    ANY,
    FAILED,
    FAR,
    PASSED,
    UNKNOWN,
    consistently,
    eventually,
    history,
    probe,
    row,
    sticky,
    tally,
)

TO = "echo.ns:80/tcp"


def last(
    samples: Sequence[Sample], within: float = 1.0, at_least: int = 1, percent: float = 95.0, role: str = "claim"
) -> Expectation:
    return Expectation(
        "p95",
        role,
        "percentile",
        ANY,
        None,
        0.0,
        within,
        None,
        at_least,
        (1, 0),
        samples=tuple(samples),
        percent=percent,
    )


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ew", PASSED),  # seen after 0.5 s
        ("eew", PASSED),  # after 1.0 s, the bound itself
        ("eeew", UNKNOWN),  # the last wrong one after 1.0 s, the first right one after 1.5: in between, who knows
        ("eeeew", FAILED),  # still wrong after 1.5 s
        ("eeeeeee", FAILED),  # never
        ("tttttw", FAILED),  # a time-out is a definite no
        ("hw", PASSED),
        ("eehhhw", UNKNOWN),  # it may have been there when nobody could see
        ("hhhhh", UNKNOWN),
        ("eeeeh", FAILED),
        ("??w", PASSED),  # in time, whatever those were
        ("", UNKNOWN),
        ("e", UNKNOWN),  # nobody looked on
    ],
)
def test_one_sample_of_one_second(letters: str, expected: Verdict) -> None:
    """A probe each 0.5 s from 0.0, and at most 1 s allowed until the far cluster answers."""
    rows = row(letters) or row("e", begin=-5.0)
    assert check(history((rows, last([Sample(0.0, FAR, TO)])))).verdict is expected


def samples(times: Sequence[float]) -> tuple[list[Observation], list[Sample]]:
    """One sample every 100 s, met after so many seconds; a wrong answer just before."""
    rows, found = [], []
    for k, taken in enumerate(times):
        begin = 100.0 * k
        found.append(Sample(begin, FAR, TO))
        rows += [probe("e", begin + taken - 0.01), probe("w", begin + taken)]
    return rows, found


def test_the_nearest_rank_decides() -> None:
    """Of forty samples two may be slow for the 95th percentile, and three not."""
    for slow, expected in ((2, PASSED), (3, FAILED)):
        rows, found = samples([0.2] * (40 - slow) + [5.0] * slow)
        assert check(history((rows, last(found, at_least=30)))).verdict is expected


def test_too_few_samples_are_no_percentile() -> None:
    """Twenty-nine where thirty are needed is unknown, however fast they were."""
    rows, found = samples([0.2] * 29)
    assert check(history((rows, last(found, at_least=30)))).verdict is UNKNOWN


def test_the_slowest_client_pod_counts() -> None:
    """A node that learns late is not outvoted by the one that learned at once."""
    rows = [*row("w", pod="a"), *row("eeeeeew", pod="b")]
    assert check(history((rows, last([Sample(0.0, FAR, TO)])))).verdict is FAILED
    assert check(history((rows[:1], last([Sample(0.0, FAR, TO)])))).verdict is PASSED


def test_another_target_is_not_the_sample_s() -> None:
    """Answers to a control by pod address meet no sample of the Service."""
    rows = [*row("eeeeee"), *row("w")]
    assert check(history((rows, last([Sample(0.0, FAR, "10.0.0.1:8080/http")])))).verdict is UNKNOWN


def test_percentiles_are_listed_whatever_the_verdict() -> None:
    """p50, p95 and p99 with the number of samples; a time that never came is "never"."""
    rows, found = samples([0.25] * 38 + [5.0] * 2)
    listed = measured(history((rows, last(found))))
    assert listed == {
        "p95, samples": 40,
        "p95, p50 seconds": 0.25,
        "p95, p95 seconds": 0.25,
        "p95, p99 seconds": 5.0,
    }
    assert measured(history((row("eeeee"), last([Sample(0.0, FAR, TO)]))))["p95, p99 seconds"] == "never"


@settings(deadline=None)
@given(st.text("ewth?", min_size=1, max_size=20), st.sets(st.integers(0, 19)), st.floats(0.1, 6))
def test_losing_sight_never_turns_a_percentile_round(letters: str, lost: set[int], within: float) -> None:
    """With some probes lost to harness errors the verdict is the same or unknown: never its opposite."""
    blinded = "".join("h" if k in lost else letter for k, letter in enumerate(letters))
    claim = last([Sample(0.0, FAR, TO)], within)
    whole, blind = (check(history((row(text), claim))).verdict for text in (letters, blinded))
    assert whole in (PASSED, FAILED, UNKNOWN)
    assert blind in (whole, UNKNOWN) or whole is UNKNOWN


def test_a_tally_counts_and_promises_nothing() -> None:
    """Requests, lost ones and unseen ones, from where, and how long: the verdict is observed and lists them."""
    seen = history((row("eewth", step=1.0), tally()))
    assert check(seen).verdict is Verdict.OBSERVED
    assert measured(seen) == {
        "the move, requests": 5,
        "the move, lost": 1,
        "the move, unseen": 1,
        "the move, share from east": 0.5,
        "the move, share from west": 0.25,
        "the move, p50 seconds": 0.0,
        "the move, p95 seconds": 0.0,
        "the move, longest seconds": 0.0,
    }


def test_a_tally_of_a_stretch_leaves_the_rest_out() -> None:
    """Only what was due from `since` for `within` seconds is counted."""
    seen = history((row("eeewwweee"), tally(since=1.5, within=1.0)))
    assert measured(seen)["the move, requests"] == 3
    assert measured(seen)["the move, share from west"] == 1.0


def test_what_could_not_be_measured_is_unknown() -> None:
    """A tally of harness errors alone is no observation."""
    assert check(history((row("hhh"), tally()))).verdict is UNKNOWN


def test_an_observation_is_never_red_and_never_green() -> None:
    """Beside a claim it is only listed; its own time that never came is "never"."""
    observed = eventually(role="observed", name="it moves")
    alone = history((row("eeeeeeeeeeeeee"), observed))
    assert check(alone).verdict is Verdict.OBSERVED
    assert measured(alone) == {"seconds until it moves": "never"}
    beside = history((row("eeeeeeeeeeeeee"), observed), (row("www", begin=20.0), eventually(since=20.0)))
    assert check(beside).verdict is PASSED
    assert measured(beside) == {"seconds until it moves": "never", "seconds until it comes": 0.0}


def test_a_broken_control_spoils_what_is_observed() -> None:
    """A measurement through a probe that cannot see is unknown."""
    control = eventually(role="control", name="far can answer")
    assert check(history((row("eeeeeeeeeeeee"), control), (row("eee", begin=20.0), tally()))).verdict is UNKNOWN


def test_a_tally_may_not_claim() -> None:
    """A rule without a promise cannot be broken, so it cannot be claimed."""
    with pytest.raises(ValueError, match="observed"):
        Expectation("x", "claim", "tally", ANY, None, 0.0, None, None, 1, (1, 0))


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("eeeeee", PASSED),
        ("wwwwww", PASSED),
        ("eeeeew", FAILED),
        ("weeeee", FAILED),
        ("eeetee", FAILED),  # unanswered is not stuck
        ("eeehee", UNKNOWN),
        ("eee?ee", UNKNOWN),
        ("ew?hee", FAILED),
        ("eeee", UNKNOWN),  # watched for only 1.5 s
        ("e    e", UNKNOWN),  # two rows, three are needed
    ],
)
def test_a_pin(letters: str, expected: Verdict) -> None:
    """Two seconds, three rows at least, and always the same pod."""
    assert check(history((row(letters), sticky()))).verdict is expected


def test_each_client_has_a_pin_of_its_own() -> None:
    """Two client pods may be with two backends; one that changes is not hidden by the other."""
    assert check(history(([*row("eeeeee", pod="a"), *row("wwwwww", pod="b")], sticky()))).verdict is PASSED
    assert check(history(([*row("eeeeee", pod="a"), *row("wwwwwe", pod="b")], sticky()))).verdict is FAILED


def test_a_pin_is_held_against_the_rows_before_it() -> None:
    """Rows before `since` say who it was; they do not count as watched."""
    before, after = row("ww"), row("eeeeee", begin=5.0)
    assert check(history(([*before, *after], sticky(since=4.0)))).verdict is FAILED
    assert check(history(([*row("ee"), *after], sticky(since=4.0)))).verdict is PASSED
    assert check(history(([*row("eeeeee"), *row("ee", begin=5.0)], sticky(since=4.0)))).verdict is UNKNOWN


def test_a_row_that_includes_each_of_several() -> None:
    """With several in `including` each must be met within one row of the length."""
    far, near = Match(cluster="west"), Match(cluster="east")
    both = eventually(ANY, (far, near), in_a_row=4)
    assert check(history((row("wwwweew"), both))).verdict is PASSED
    assert check(history((row("wwwwwwwwwwwwwww"), both))).verdict is FAILED
    assert check(history((row("tetwtetwtetwtet"), both))).verdict is FAILED
    lost = check(history((row("wwwwwwwwwwwwwww"), both)))
    assert "none was answered from cluster east" in lost.reason


def test_an_unknown_rule_is_unknown() -> None:
    """Should a rule of a later version come as far as the checker, it is not passed."""
    claim = eventually()
    object.__setattr__(claim, "rule", "linearizable")
    assert find(claim, list(enumerate(row("www"), start=2))).verdict is UNKNOWN


def test_a_case_that_only_watches_is_still_unknown_without_rows() -> None:
    """Nothing observed, nothing claimed: unknown, also with a claim of another kind."""
    assert check(history(([], tally()))).verdict is UNKNOWN
    assert check(history(([], consistently()))).verdict is UNKNOWN
