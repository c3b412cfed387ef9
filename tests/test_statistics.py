"""The number of probes is the least that keeps chance below alpha."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproof.fixtures.statistics import probes_needed


@pytest.mark.parametrize(("share", "n"), [(1 / 2, 20), (1 / 3, 35), (1 / 6, 76), (1 / 12, 159), (0.01, 1375), (1, 1)])
def test_it_agrees_with_the_measured_table(share: float, n: int) -> None:
    """The power table of the research, at alpha 1e-6."""
    assert probes_needed(share) == n


@given(st.floats(1e-6, 0.999), st.floats(1e-12, 0.5))
def test_it_is_enough_and_one_less_is_not(share: float, alpha: float) -> None:
    """n probes push chance to alpha, and n - 1 do not (up to the rounding of a logarithm)."""
    n = probes_needed(share, alpha)
    assert n * math.log1p(-share) <= math.log(alpha) * (1 - 1e-12)
    assert n == 1 or (n - 1) * math.log1p(-share) > math.log(alpha) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("share", "alpha"), [(0, 1e-6), (-0.1, 1e-6), (1.1, 1e-6), (0.5, 0), (0.5, 1), (math.nan, 1e-6)]
)
def test_nonsense_is_refused(share: float, alpha: float) -> None:
    """A share or an alpha outside its range is a ValueError."""
    with pytest.raises(ValueError, match="must be in"):
        probes_needed(share, alpha)
