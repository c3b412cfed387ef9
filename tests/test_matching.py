"""Yes, no, or it does not say: for each way to ask, an observation of each kind."""

from __future__ import annotations

from typing import Any

import pytest

from meshproof.fixtures.history import Answerer, Match, Observation, Source
from meshproof.fixtures.matching import describe, matches
from meshproof.fixtures.outcomes import Outcome

REACHED = Outcome.REACHED


def seen(outcome: Outcome = REACHED, by: Answerer | None = None, detail: str = "") -> Observation:
    return Observation(Source("east", "east-1", "client-0"), "echo:80/http", 1.0, 1.0, 1.1, outcome, by, detail)


def by(cluster: str = "west", pod: str = "w0", peer: str = "10.0.0.1") -> Observation:
    return seen(by=Answerer(cluster, "n", "ns", pod, "u", peer))


LOST, LATE = seen(Outcome.HARNESS_ERROR), seen(Outcome.TIMED_OUT)


@pytest.mark.parametrize(
    ("asked", "observation", "answer"),
    [
        ({"pods": ("w0", "w1")}, by(), True),
        ({"pods": ("w1", "w2")}, by(), False),
        ({"pods": ("w0",)}, by(pod=""), None),
        ({"pods": ("w0",)}, seen(), None),
        ({"pods": ("w0",)}, LATE, False),
        ({"pods": ("w0",)}, LOST, None),
        ({"not_pods": ("w0", "w1")}, by(), False),
        ({"not_pods": ("w1",)}, by(), True),
        ({"not_pods": ("w1",)}, by(pod=""), None),
        ({"not_pods": ("w1",)}, LATE, False),  # a time-out is no answer by another
        ({"pods": ("w0",), "cluster": "west"}, by(), True),
        ({"pods": ("w0",), "cluster": "west"}, by(cluster="east"), False),
        ({"pods": ("w0",), "cluster": "west"}, by(cluster=""), None),
        ({"pods": ("w1",), "cluster": "west"}, by(cluster=""), False),  # one no is enough
        ({"not_cluster": "east", "not_pods": ("w0",)}, by(), False),
        ({"not_cluster": "west", "not_pods": ("w1",)}, by(), False),
        ({"peer": "10.0.0.1", "pods": ("w0",)}, by(), True),
        ({"outcome": REACHED, "detail": "10.0.0.9"}, seen(detail="10.0.0.8 10.0.0.9"), True),
        ({"outcome": REACHED, "detail": "10.0.0.9"}, seen(detail="10.0.0.8"), False),
        ({"outcome": Outcome.DNS_FAILURE, "detail": "NXDOMAIN"}, seen(Outcome.DNS_FAILURE, detail="NXDOMAIN"), True),
        ({"outcome": Outcome.DNS_FAILURE, "detail": "NXDOMAIN"}, seen(Outcome.DNS_FAILURE, detail="SERVFAIL"), False),
        ({"detail": "NXDOMAIN"}, LOST, None),
    ],
)
def test_an_observation_meets_a_match_or_not(asked: dict[str, Any], observation: Observation, answer: bool) -> None:
    """Harness errors and unnamed answerers say nothing; whatever contradicts one field is no."""
    assert matches(Match(**asked), observation) is answer


@pytest.mark.parametrize(
    "fields",
    [
        {"pods": ("",)},
        {"not_pods": ("w0", "")},
        {"detail": ""},
        {"pod": "w0", "pods": ("w1",)},
        {"pods": ("w0",), "not_pods": ("w0", "w1")},
        {"pod": "w0", "not_pods": ("w0",)},
        {"outcome": Outcome.REFUSED, "pods": ("w0",)},
        {"outcome": Outcome.DNS_FAILURE, "not_pods": ("w0",)},
    ],
)
def test_a_match_that_nothing_could_meet_is_refused(fields: dict[str, Any]) -> None:
    """A vacuous expectation cannot even be written down."""
    with pytest.raises(ValueError, match=r"match|empty|answerer"):
        Match(**fields)


def test_every_field_is_told() -> None:
    """What a person reads of a match has all that is asked in it."""
    told = describe(Match(REACHED, "west", peer="10.0.0.1", pods=("w0", "w1"), not_pods=("w2",), detail="x"))
    assert told == ("reached from cluster west by pod w0 or w1 by no pod of w2 with peer 10.0.0.1 saying 'x'")
