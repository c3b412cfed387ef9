"""A moment of readiness counts when the client could see it arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec, Fleet, FleetSpec
from meshproof.fixtures.arrival import MOMENTS, SECONDS_MAX, Arrivals, Watched, pods_needed, told_in_time
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.floor import Workload
from meshproof.fixtures.history import Answerer, CaseHeader, Observation, Recorder, Source
from meshproof.fixtures.outcomes import Outcome

EAST, WEST = (
    Cluster(ClusterSpec(name, id, 2, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16"), name, Path("none"))
    for id, name in enumerate(("east", "west"), 1)
)
SERVICE = "blink-west-0.shop.svc.cluster.local:81/tcp"
BY = Answerer("west", "west-1", "shop", "blink-0", "u", "10.0.0.1")


def seen(letters: str) -> tuple[Observation, ...]:
    """One probe a second: (r)eached, re(f)used, or (l)ost."""
    outcomes = {"r": Outcome.REACHED, "f": Outcome.REFUSED, "l": Outcome.HARNESS_ERROR}
    source = Source("east", "east-1", "client-0")
    return tuple(
        Observation(source, SERVICE, due, due, due, outcomes[letter], BY if letter == "r" else None)
        for due, letter in enumerate(letters)
    )


@pytest.mark.parametrize(
    ("letters", "since", "counts"),
    [
        ("fffrrr", 2.5, True),
        ("ffffff", 2.5, True),
        ("frfrrr", 1.5, False),
        ("flfrrr", 1.5, False),
        ("fffrrr", 3.5, False),
        ("rrrrrr", 0.0, False),
    ],
    ids=["it arrives", "it never arrives", "it was not seen gone", "nobody knows", "too late to tell", "at once"],
)
def test_a_moment_counts_when_it_was_watched(tmp_path: Path, letters: str, since: float, counts: bool) -> None:
    """The pod was seen gone before, and looked for as long as the bound; one that never arrives counts too."""
    spec = FleetSpec("paper", "paper", "paper", "cilium", (EAST.spec, WEST.spec), Path("paper.yaml"))
    workload = Workload(Fleet(spec, (EAST, WEST), Path()), "shop", (), {})
    watched = Watched(workload, {SERVICE: (since,)}, {"west": (SERVICE,)}, {("east", SERVICE): seen(letters)})
    header = CaseHeader("DISC-18[east-west]", "DISC-18", ("east", "west"), "cilium", 7, "paper")
    with Recorder(tmp_path / "history.jsonl", RunClock(), header) as recorder:
        arrivals = Arrivals(lambda: watched, recorder, RunClock())
        assert [sample.since for sample in arrivals.samples(EAST, WEST, 2.0)] == ([since] if counts else [])
        assert arrivals.seen(EAST, WEST).batch(1) == []
        assert len(recorder.history().observations()) == len(letters)


@pytest.mark.parametrize(
    ("clusters", "blink", "pods"), [(2, 2.0, 8), (3, 2.0, 6), (5, 2.0, 3), (8, 2.0, 3), (8, 5.0, 6), (2, 5.0, 8)]
)
def test_fewer_pods_blink_where_there_are_more_clusters(clusters: int, blink: float, pods: int) -> None:
    """Every blink is news to every node; and yet all is seen before a case is given up."""
    assert pods_needed(clusters, blink) == pods
    assert 2 * blink * MOMENTS / pods <= SECONDS_MAX


def test_a_moment_told_while_we_stood_still_does_not_count() -> None:
    """What waited to be read was true at some time before; it may be over by then."""
    assert told_in_time([1.0, 4.0, 6.1, 6.4, 6.6, 8.0], [(6.0, 3.0), (9.0, 0.5)]) == [1.0, 6.6, 8.0]
