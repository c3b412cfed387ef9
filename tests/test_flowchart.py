"""The chart of global and shared is the documented one, and its sixteen combinations are dealt to every pair."""

from __future__ import annotations

from itertools import combinations

import pytest

from meshproof.fixtures.flowchart import STATES, State, deals, gives


@pytest.mark.parametrize("clusters", [2, 3, 5, 6, 8, 25])
def test_every_two_clusters_meet_in_all_sixteen_ways(clusters: int) -> None:
    """Sixteen Services do for five clusters, 32 for 25."""
    dealt = list(deals(clusters))
    assert len(dealt) == (16 if clusters <= 5 else 32)
    for one, other in combinations(range(clusters), 2):
        assert {(states[one], states[other]) for states in dealt} == {(a, b) for a in STATES for b in STATES}


def test_more_clusters_than_the_deal_is_made_for_are_refused() -> None:
    """Rather than left uncovered in silence."""
    with pytest.raises(ValueError, match="26 clusters"):
        list(deals(26))


def test_the_chart_is_the_documented_one() -> None:
    """A cluster uses another's backends when it is global itself and the other is global and shared; nothing else."""
    yes, unshared, shared_only, no = (State(g, s) for g in (True, False) for s in (True, False))
    used = {(near, far) for near in STATES for far in STATES if gives(near, far)}
    assert used == {(yes, yes), (unshared, yes)}
    assert not gives(yes, shared_only)
    assert not gives(no, yes)
