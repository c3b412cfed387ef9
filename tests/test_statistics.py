"""The numbers that keep chance below alpha: against tables, against simulation, and against their own definitions."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproof.fixtures.statistics import (
    chi_square,
    chi_square_p,
    chi_square_tail,
    connections_needed,
    noncentral_tail,
    percentile,
    probes_needed,
)


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


@pytest.mark.parametrize(
    ("freedom", "tail", "x"),
    [
        (1, 0.05, 3.841459),
        (1, 0.001, 10.827566),
        (2, 0.05, 5.991465),
        (2, 0.01, 9.210340),
        (3, 0.05, 7.814728),
        (3, 0.001, 16.266236),
        (5, 0.95, 1.145476),
        (5, 0.01, 15.086272),
        (10, 0.05, 18.307038),
        (11, 0.001, 31.264134),
        (30, 0.05, 43.772972),
        (100, 0.01, 135.806723),
    ],
)
def test_the_tail_agrees_with_the_printed_tables(freedom: int, tail: float, x: float) -> None:
    """Critical values of chi-square as every table has them, to six decimals."""
    assert chi_square_tail(x, freedom) == pytest.approx(tail, rel=2e-6)


def test_the_tail_agrees_with_the_normal_distribution() -> None:
    """With one degree of freedom it is the two-sided normal tail, as far out as the gate asks: z = 4.8916 is 1e-6."""
    assert chi_square_tail(4.891638**2, 1) == pytest.approx(1e-6, rel=1e-5)


@given(st.floats(0, 500), st.integers(1, 120))
def test_a_tail_is_a_probability_and_falls(x: float, freedom: int) -> None:
    """Between 0 and 1, less for a larger x, more for more degrees of freedom."""
    tail = chi_square_tail(x, freedom)
    assert 0 <= tail <= 1
    rounding = 1e-12
    assert chi_square_tail(x + 1, freedom) <= tail + rounding
    assert tail <= chi_square_tail(x, freedom + 1) + rounding


def test_p_of_a_textbook_die() -> None:
    """Sixty throws, 5 8 9 8 10 20: the statistic is 13.4 and p is 0.0199."""
    counts, shares = [5, 8, 9, 8, 10, 20], [1 / 6] * 6
    assert chi_square(counts, shares) == pytest.approx(13.4)
    assert chi_square_p(counts, shares) == pytest.approx(0.0199, abs=5e-5)


def test_counts_as_expected_are_no_surprise() -> None:
    """p is 1 when every count is its share."""
    assert chi_square_p([30, 10], [0.75, 0.25]) == 1.0


@pytest.mark.parametrize(
    ("counts", "shares"),
    [([1, 2], [0.5, 0.6]), ([1], [1.0]), ([1, 2], [0.0, 1.0]), ([0, 0], [0.5, 0.5]), ([1, 2, 3], [0.5, 0.5])],
)
def test_counts_without_a_question_are_refused(counts: list[int], shares: list[float]) -> None:
    """Shares that are none, and counts that do not go with them, are ValueErrors."""
    with pytest.raises(ValueError, match="shares"):
        chi_square_p(counts, shares)


@pytest.mark.parametrize(("groups", "n"), [(2, 209), (3, 451), (6, 1290), (12, 3311)])
def test_the_connections_of_the_design(groups: int, n: int) -> None:
    """One of n equal backends at half its share, alpha 1e-6, power .99 (for 6 the design says about 1,289)."""
    assert connections_needed([1 / groups] * groups) == n


def test_one_connection_less_is_not_enough() -> None:
    """The power at n is what was asked for, and at n - 1 it is less: 1289 is 0.98999 with six backends."""
    critical = 35.888186879688874
    assert chi_square_tail(critical, 5) == pytest.approx(1e-6, rel=1e-9)
    assert noncentral_tail(critical, 5, 1290 / 20) >= 0.99 > noncentral_tail(critical, 5, 1289 / 20) > 0.98998


def test_the_noncentral_tail_agrees_with_its_definition() -> None:
    """Five degrees of freedom are one shifted normal square and a chi-square of four: integrated numerically."""
    shift, x, steps = math.sqrt(20.0), 18.0, 20_000
    total = 0.0
    for k in range(steps):
        z = -9 + 18 * (k + 0.5) / steps
        rest = x - (z + shift) ** 2
        total += math.exp(-z * z / 2) * (chi_square_tail(rest, 4) if rest > 0 else 1.0)
    assert noncentral_tail(x, 5, 20.0) == pytest.approx(total * 18 / steps / math.sqrt(2 * math.pi), rel=1e-6)


def test_the_power_is_as_promised_when_tried() -> None:
    """2000 simulated runs with three backends, one at half its share: 451 connections notice about 99 in a hundred."""
    random, noticed = Random(4), 0
    for _ in range(2000):
        drawn = random.choices((0, 1, 2), (1 / 6, 5 / 12, 5 / 12), k=451)
        noticed += chi_square_p([drawn.count(k) for k in range(3)], [1 / 3] * 3) < 1e-6
    assert 0.97 < noticed / 2000 <= 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=8))
def test_a_smaller_share_needs_more(weights: list[int]) -> None:
    """Every n is at least what the same number of equal shares needs, and power and alpha cost more."""
    shares = [weight / sum(weights) for weight in weights]
    needed = connections_needed(shares)
    assert needed >= connections_needed([1 / len(shares)] * len(shares))
    assert connections_needed(shares, alpha=1e-3) < needed < connections_needed(shares, power=0.9999)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_percentile_is_one_of_the_values_and_rises(values: list[float]) -> None:
    """The 100th is the largest; each is a value that was there, and a higher percent gives no lower one."""
    found = [percentile(values, percent) for percent in (1, 50, 95, 99, 100)]
    assert all(value in values for value in found)
    assert all(lower <= higher for lower, higher in pairwise(found))
    assert found[-1] == max(values)


def test_the_95th_of_twenty_is_the_19th() -> None:
    """Nearest rank: what 95 in a hundred do not exceed; a time that never came may be among them."""
    assert percentile([*range(1, 20), math.inf], 95) == 19
    assert percentile([*range(1, 20), math.inf], 96) == math.inf
