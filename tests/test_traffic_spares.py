"""What the traffic program goes on asking when the next plan does not come: when, at which pace, and to which end."""

from __future__ import annotations

import socket
from typing import Any

from meshproof.fixtures import traffic
from tests.paper_time import PaperTime, paper_time

__all__ = ["paper_time"]


def plan(*ports: int, spare: dict[str, Any]) -> dict[str, Any]:
    """One request to each of these ports, and a spare."""
    targets = [{"id": f"t{n}", "host": "127.0.0.1", "port": port, "protocol": "tcp"} for n, port in enumerate(ports)]
    return {"run": "r1", "targets": targets, "count": 1, "interval": 0.01, "timeout": 1.0, "spare": spare}


def test_what_a_spare_cannot_tell_is_no_silence() -> None:
    """Of one that never ended each target has a harness error beside what was seen."""
    spare = traffic.Plan(plan(1, 2, spare={"chain": "c", "after": 0, "interval": 1.0, "count": 3})).spare
    assert spare is not None
    spare.rows.append({"target": "t0", "outcome": "reached"})
    assert [(row["target"], row["outcome"]) for row in spare.told()] == [
        ("t0", "reached"),
        ("t0", "harness-error"),
        ("t1", "harness-error"),
    ]
    spare.ended.set()
    assert len(spare.told()) == 1


SPARE = {"chain": "c", "after": 0.1, "interval": 0.1, "count": 40}


def spared(paper_time: PaperTime, late: float, over: float = 100.0) -> list[tuple[int, float, float]]:
    """What the spare of a plan asked when it began so late: number, due and start, in seconds from the beginning."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        asked = traffic.Plan(plan(bound.getsockname()[1], spare=SPARE))
        rows: list[dict[str, Any]] = []
        prober, begin = traffic.Prober(asked, rows.append), paper_time.now - late
        assert asked.spare is not None
        spare = asked.spare

        def busy() -> bool:
            if paper_time.now - begin >= over:
                spare.over.set()
            return False

        paper_time.busy = busy
        paper_time.run(prober, late)
    assert [row["seq"] for row in rows] == [0]
    return [(row["seq"], round(row["due"] - begin, 3), round(row["start"] - begin, 3)) for row in spare.rows]


def test_a_spare_begins_late_and_keeps_its_pace(paper_time: PaperTime) -> None:
    """The first comes so much after the last planned request, the others each so much later, until there are all."""
    asked = spared(paper_time, 0.0)
    assert asked == [(-1 - k, round(0.1 + k / 10, 3), round(0.1 + k / 10, 3)) for k in range(40)]


def test_a_spare_that_is_over_asks_no_more(paper_time: PaperTime) -> None:
    """It ends where it is, and with it the plan."""
    began = paper_time.now
    assert len(spared(paper_time, 0.0, over=0.45)) == 5
    assert paper_time.now - began < 1.0


def test_what_a_stall_missed_is_not_made_up_for_at_once(paper_time: PaperTime) -> None:
    """A spare that could not ask for a while asks once, and goes on at its pace."""
    asked = spared(paper_time, 3.55)
    paced = [(-1 - k, round(0.1 + k / 10, 3)) for k in range(35, 40)]
    assert [(number, start) for number, _, start in asked] == [(-35, 3.55), *paced]
