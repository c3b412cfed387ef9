"""What no history whatever may do to a checker: make it raise, contradict itself, or decide too early."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from meshproof.fixtures.checkers import check
from meshproof.fixtures.history import Expectation, Observation
from meshproof.fixtures.verdicts import Verdict
from tests.histories import (
    ANY,
    FAILED,
    FAR,
    PASSED,
    STEP,
    UNKNOWN,
    consistently,
    eventually,
    history,
    percentile,
    probe,
    row,
    sticky,
    tally,
    verdict,
)

rules = st.one_of(
    st.builds(eventually, st.sampled_from([FAR, ANY]), st.none() | st.just(FAR), st.floats(0, 3), st.floats(0.5, 6)),
    st.builds(consistently, st.sampled_from([FAR, ANY]), st.floats(0, 3), st.floats(0.5, 6)),
)
every_rule = st.one_of(
    rules,
    st.builds(sticky, st.floats(0, 3), st.floats(0.5, 6)),
    st.builds(percentile, st.floats(0, 3), st.floats(0.1, 6)),
    st.builds(replace, rules, role=st.just("observed")),
    st.builds(tally, st.floats(0, 3)),
)
streams = st.lists(
    st.builds(
        probe,
        st.sampled_from("ewth?"),
        st.floats(0, 8),
        st.sampled_from(["a", "b"]),
        st.sampled_from([0.0, 0.0, 3.0]),
        st.sampled_from([0.0, 0.0, 0.3]),
    ),
    max_size=25,
)


@given(streams, every_rule)
def test_any_history_gets_a_verdict(seen: list[Observation], rule: Expectation) -> None:
    """Never an exception, always one of three (or observed, where that was asked), and the same every time."""
    first = check(history((seen, rule)))
    assert first.verdict in (PASSED, FAILED, UNKNOWN, *([Verdict.OBSERVED] if rule.role == "observed" else []))
    assert first.reason
    assert check(history((seen, rule))) == first


@settings(max_examples=300)
@given(st.text("ewt", min_size=1, max_size=25), st.sets(st.integers(0, 24)), rules)
def test_losing_sight_never_turns_a_verdict_round(letters: str, lost: set[int], rule: Expectation) -> None:
    """With some probes lost to harness errors the verdict is the same or unknown: never its opposite."""
    blinded = "".join("h" if k in lost else letter for k, letter in enumerate(letters))
    seen, blind = verdict(row(letters, step=0.3), rule), verdict(row(blinded, step=0.3), rule)
    assert blind in (seen, UNKNOWN)


@settings(max_examples=300)
@given(st.text("ewth", min_size=1, max_size=25), st.text("ewth", max_size=12), rules)
def test_seeing_more_never_takes_an_eventually_back(letters: str, more: str, rule: Expectation) -> None:
    """Watching on never takes back a decided `eventually` or a failed `consistently`: deciding early is sound."""
    early, late = verdict(row(letters), rule), verdict(row(letters + more), rule)
    if early is FAILED or (early is PASSED and rule.rule == "eventually"):
        assert late is early


@settings(max_examples=300)
@given(st.text("ewt", min_size=1, max_size=30), st.integers(1, 5), st.floats(0.5, 6))
def test_it_agrees_with_the_definition_read_aloud(letters: str, length: int, within: float) -> None:
    """Against a naive reading: where a window begins, and where one could if all that follows matched."""
    window = "w" * length
    shown, possible = letters.find(window), (letters + window).find(window)
    found = verdict(row(letters), eventually(within=within, in_a_row=length))
    if shown >= 0 and shown * STEP <= within:
        assert found is PASSED
    elif possible > 0 and (possible - 1) * STEP > within:
        assert found is FAILED
    else:
        assert found is UNKNOWN
