"""Live measuring raises, or lists, exactly what the checker says of the history it leaves."""

from __future__ import annotations

from random import Random

import pytest

from meshproof.fixtures.checkers import check, measured
from meshproof.fixtures.history import CLUSTER, POD, Sample, Shares, load
from meshproof.fixtures.measures import distributed, observe, percentile, tally
from meshproof.fixtures.verdicts import CannotTell, PromiseBroken, Verdict
from meshproof.fixtures.waits import eventually
from tests.simulated import FAR, NEAR, STEP, Simulate, Simulated, simulate

__all__ = ["simulate"]

HALVES = Shares(CLUSTER, (("east", 0.5), ("west", 0.5)))
PODS = Shares(POD, (("east/echo-0", 0.5), ("west/echo-0", 0.5)))


def balanced(simulate: Simulate, share: float) -> Simulated:
    """A network that sends this share of the connections west, drawn with a fixed seed, asked from two nodes."""
    random = Random(11)
    prober = simulate(lambda at: "west" if random.random() < share else "east")
    prober.nodes = 2
    return prober


def test_as_many_are_asked_as_the_power_needs(simulate: Simulate) -> None:
    """209 connections with two groups, and the answers fit both by cluster and by pod."""
    prober = balanced(simulate, 0.5)
    distributed(prober, HALVES, PODS, name="the shares fit")
    assert 209 <= len(prober.recorder.history().observations()) <= 210
    stored = load(prober.recorder.path)
    assert check(stored).verdict is Verdict.PASSED
    assert len(stored.expectations()) == 2
    assert measured(stored)["the shares fit, connections"] == 210


def test_half_a_share_is_noticed(simulate: Simulate) -> None:
    """One cluster at half its share raises, and the stored history says the same."""
    prober = balanced(simulate, 0.25)
    with pytest.raises(PromiseBroken, match="the shares do not fit") as caught:
        distributed(prober, HALVES, name="the shares fit")
    assert "spread as east 50.0%, west 50.0%, over 209 connections" in str(caught.value)
    assert check(load(prober.recorder.path)) == caught.value.judgement


def test_a_lost_row_is_not_dropped(simulate: Simulate) -> None:
    """One harness error among the connections leaves it open."""
    prober = simulate(lambda at: "lost" if 5.0 <= at < 5.0 + STEP else "west" if int(at / STEP) % 2 else "east")
    prober.nodes = 2
    with pytest.raises(CannotTell, match="unusable"):
        distributed(prober, HALVES, name="the shares fit")


def test_a_dead_control_channel_ends_the_asking(simulate: Simulate) -> None:
    """Three batches without a usable row, and it cannot be told."""
    prober = simulate(lambda at: "lost")
    with pytest.raises(CannotTell):
        distributed(prober, HALVES, name="the shares fit", connections=10_000)
    assert prober.batches == 3


def test_what_is_observed_is_listed(simulate: Simulate) -> None:
    """A batch that loses requests is observed, whatever it loses."""
    prober = simulate(lambda at: "timed-out" if at < 0.39 else "west")
    rows = observe(prober, 10, name="the flip")
    assert len(rows) == 10
    stored = load(prober.recorder.path)
    assert check(stored).verdict is Verdict.OBSERVED
    assert measured(stored)["the flip, lost"] == 4


def test_a_tally_looks_back(simulate: Simulate) -> None:
    """It counts what is in the history already, and asks nothing."""
    prober = simulate(lambda at: "west" if at >= 1.0 else "east")
    eventually(prober, FAR, within=5.0, in_a_row=10, name="the far cluster answers")
    asked = prober.batches
    tally(prober, name="the move", since=0.0)
    assert prober.batches == asked
    assert 0 < float(measured(load(prober.recorder.path))["the move, share from east"]) < 1


def samples(prober: Simulated, slow: int) -> list[Sample]:
    """Thirty changes, 0.3 s until seen, some of them 3 s."""
    found = []
    for k in range(30):
        begin = prober.time
        change = begin + (3.0 if k < slow else 0.3)
        prober.answers = lambda at, change=change: "west" if at >= change else "east"  # type: ignore[misc]  # bound now
        eventually(prober, FAR, within=10.0, since=begin, in_a_row=1, name="seen", role="observed")
        found.append(Sample(begin, FAR, "echo.ns:80/tcp"))
    return found


@pytest.mark.parametrize(("slow", "broken"), [(1, False), (2, True)])
def test_a_percentile_of_waits(simulate: Simulate, slow: int, broken: bool) -> None:
    """Of thirty samples one may be slow for the 95th percentile, and two not."""
    prober = simulate(lambda at: "east")
    found = samples(prober, slow)
    if broken:
        with pytest.raises(PromiseBroken, match="p95 of 30 samples"):
            percentile(prober, found, within=1.0, name="p95 is in the bound")
    else:
        assert percentile(prober, found, within=1.0, name="p95 is in the bound") <= 1.0
    assert check(load(prober.recorder.path)).verdict is (Verdict.FAILED if broken else Verdict.PASSED)


def test_another_prober_in_between_is_refused(simulate: Simulate) -> None:
    """Its rows would be counted with ours; the case is aborted as unknown."""
    prober = simulate(lambda at: "west" if int(at / STEP) % 2 else "east")
    prober.intruder = True
    with pytest.raises(CannotTell, match="another prober"):
        distributed(prober, HALVES, name="the shares fit", connections=2000)


def test_near_is_near() -> None:
    """The two matches of these tests contradict each other."""
    assert NEAR != FAR
