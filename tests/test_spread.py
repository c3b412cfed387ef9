"""A distribution: for each way to be wrong, or not to know, a history."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproof.fixtures.checkers import check, find, measured
from meshproof.fixtures.history import (
    CLUSTER,
    POD,
    Answerer,
    Expectation,
    Match,
    Observation,
    Shares,
    Source,
)
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.verdicts import Verdict
from tests.histories import ANY, FAILED, PASSED, UNKNOWN, history

HALVES = Shares(CLUSTER, (("east", 0.5), ("west", 0.5)))
PODS = Shares(POD, (("east/e0", 0.25), ("east/e1", 0.25), ("west/w0", 0.25), ("west/w1", 0.25)))


def seen(
    letters: str, nodes: int = 2, pods: Sequence[str] = ("e0", "e1", "w0", "w1"), begin: float = 1.0
) -> list[Observation]:
    """One connection a letter, taken in turns by the nodes: e, w or o (a cluster), p to s (a pod), t, h and ?."""
    rows = []
    for k, letter in enumerate(letters):
        node = k % nodes
        due = begin + k * 0.01
        cluster = {"e": "east", "w": "west", "o": "other", "p": "east", "q": "east", "r": "west", "s": "west"}
        outcome = {"t": Outcome.TIMED_OUT, "h": Outcome.HARNESS_ERROR}.get(letter, Outcome.REACHED)
        by = None
        if letter in cluster:
            pod = pods["pqrs".index(letter)] if letter in "pqrs" else "x"
            by = Answerer(cluster[letter], "n", "ns", pod, "u", "10.0.0.1")
        source = Source("east", f"east-{node}", f"client-{node}")
        rows.append(Observation(source, "echo:80/http", due, due, due + 0.001, outcome, by))
    return rows


def spread(shares: Shares = HALVES, least: int = 209, since: float = 0.0, role: str = "claim") -> Expectation:
    return Expectation("it fits", role, "distribution", ANY, None, since, None, None, least, (1, 0), shares=shares)


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ew" * 105, PASSED),
        ("e" * 80 + "w" * 130, PASSED),  # p = 6e-4: unlikely, and no reason for an alarm
        ("eeew" * 53, FAILED),  # one cluster at half its share
        ("e" * 210, FAILED),  # one never answers
        ("ew" * 104, UNKNOWN),  # one connection too few
        ("e" * 100, UNKNOWN),  # too few prove nothing, whatever they say
        ("ew" * 105 + "t", FAILED),  # a request that nobody answered
        ("ew" * 105 + "o", FAILED),  # an answer by a cluster without a share
        ("ew" * 105 + "h", UNKNOWN),  # a row that was lost
        ("ew" * 105 + "?", UNKNOWN),  # an answer that does not say from where
        ("eeew" * 53 + "h", FAILED),  # one lost row changes nothing about that
        ("eeew" * 53 + "h" * 106, UNKNOWN),  # so many could have made up for it
        ("h" * 300, UNKNOWN),
        ("t" * 300, FAILED),
    ],
)
def test_connections_by_cluster(letters: str, expected: Verdict) -> None:
    """Half of the answers from each cluster, 209 connections at least."""
    assert check(history((seen(letters), spread()))).verdict is expected


def test_the_edge_is_at_alpha() -> None:
    """210 connections over two clusters: 70 to 140 has p = 1.4e-6 and passes, 69 to 141 has p = 6.8e-7 and fails."""
    passing = find(spread(), list(enumerate(seen("e" * 70 + "w" * 140), start=2)))
    failing = find(spread(), list(enumerate(seen("e" * 69 + "w" * 141), start=2)))
    assert (passing.verdict, failing.verdict) == (PASSED, FAILED)
    assert float(passing.values["p"]) > 1e-6 > float(failing.values["p"])


def test_one_client_node_is_too_few() -> None:
    """What is right from one node may be wrong from another: unknown."""
    judgement = check(history((seen("ew" * 105, nodes=1), spread())))
    assert judgement.verdict is UNKNOWN
    assert "1 client nodes, 2 are needed" in judgement.reason


def test_pods_are_told_apart_by_cluster() -> None:
    """Two clusters may have a pod of one name; shares by pod name both."""
    twins = Shares(POD, (("east/x", 0.5), ("west/x", 0.5)))
    assert check(history((seen("ew" * 105), spread(twins)))).verdict is PASSED
    assert check(history((seen("ew" * 105), spread(PODS)))).verdict is FAILED


def test_a_starved_pod_hides_in_no_cluster() -> None:
    """By cluster all is even, by pod one of four is at half its share."""
    letters = ("p" * 3 + "q" + "rs" * 2) * 100
    assert check(history((seen(letters), spread()))).verdict is PASSED
    assert check(history((seen(letters), spread(PODS)))).verdict is FAILED


def test_what_was_before_the_promise_does_not_count() -> None:
    """Rows due before `since` are left out, and may leave too few."""
    rows = [*seen("e" * 200, begin=0.0), *seen("ew" * 105, begin=10.0)]
    assert check(history((rows, spread(since=9.0)))).verdict is PASSED
    assert check(history((rows, spread(since=10.5)))).verdict is UNKNOWN


def test_the_numbers_are_listed() -> None:
    """p and the number of connections are measurements of the case, also of an expectation that only observes."""
    for role in ("claim", "observed"):
        found = measured(history((seen("ew" * 105), spread(role=role))))
        assert found == {"it fits, p": 1.0, "it fits, connections": 210}


@pytest.mark.parametrize(
    "shares",
    [
        lambda: Shares("node", (("a", 0.5), ("b", 0.5))),
        lambda: Shares(CLUSTER, (("east", 1.0),)),
        lambda: Shares(CLUSTER, (("east", 0.5), ("east", 0.5))),
        lambda: Shares(CLUSTER, (("east", 1.0), ("west", 0.0))),
        lambda: Shares(CLUSTER, (("east", 0.5), ("west", 0.4))),
        lambda: Shares(CLUSTER, (("east", 0.5), ("", 0.5))),
        lambda: Shares(CLUSTER, (("east", 0.5), ("west", 0.5)), nodes=0),
        lambda: Shares(CLUSTER, (("east", 0.5), ("west", 0.5)), alpha=0.0),
        lambda: spread().__class__("x", "claim", "distribution", ANY, None, 0.0, None, None, 9, (1, 0)),
        lambda: spread().__class__("x", "claim", "distribution", ANY, None, 0.0, 1.0, None, 9, (1, 0), HALVES),
    ],
)
def test_shares_that_are_none_are_refused(shares: object) -> None:
    """A vacuous or contradictory distribution cannot even be written down."""
    assert callable(shares)
    with pytest.raises(ValueError, match=r"share|nodes|alpha|within"):
        shares()


letters = st.text("ewoth?", min_size=1, max_size=60)


@settings(deadline=None)
@given(letters, st.integers(1, 60))
def test_any_rows_get_a_verdict(text: str, least: int) -> None:
    """Never an exception, and never passed with anything unseen, unanswered or foreign among them."""
    verdict = check(history((seen(text), spread(least=least)))).verdict
    assert verdict in (PASSED, FAILED, UNKNOWN)
    if verdict is PASSED:
        assert set(text) <= {"e", "w"}
        assert len(text) >= least


@settings(deadline=None)
@given(st.text("ewo", min_size=209, max_size=260), st.sets(st.integers(0, 259), max_size=40))
def test_losing_sight_never_turns_a_verdict_round(text: str, lost: set[int]) -> None:
    """With some rows lost the verdict is the same or unknown: never its opposite."""
    blinded = "".join("h" if k in lost else letter for k, letter in enumerate(text))
    whole, blind = (check(history((seen(rows), spread()))).verdict for rows in (text, blinded))
    assert blind in (whole, UNKNOWN)


def test_a_match_about_more_than_reaching_is_kept() -> None:
    """Every connection must also be what `expect` says, such as seen with the client's own address."""
    claim = Expectation(
        "own peer", "claim", "distribution", Match(peer="10.0.0.9"), None, 0.0, None, None, 209, (1, 0), shares=HALVES
    )
    assert check(history((seen("ew" * 105), claim))).verdict is FAILED
