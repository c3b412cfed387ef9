"""Histories in a few letters, for the tests of the checkers: `row("eew")` is three probes, the last reached west."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshproof.fixtures.checkers import check
from meshproof.fixtures.history import (
    Answerer,
    CaseHeader,
    Entry,
    Event,
    Expectation,
    History,
    Match,
    Observation,
    Sample,
    Source,
)
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.verdicts import Verdict

CASE = CaseHeader("DISC-04[east-west]", "DISC-04", ("east", "west"), "cilium", 7, "two")
FAR = Match(cluster="west")
ANY = Match(outcome=Outcome.REACHED)
STEP = 0.5
PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN


def probe(letter: str, due: float, pod: str = "client-0", late: float = 0.0, blur: float = 0.0) -> Observation:
    """e, w: reached east, west; ?: reached nobody knows whom; t: timed out; h: harness error."""
    outcome = {"t": Outcome.TIMED_OUT, "h": Outcome.HARNESS_ERROR}.get(letter, Outcome.REACHED)
    cluster = {"e": "east", "w": "west"}.get(letter)
    by = Answerer(cluster, f"{cluster}-1", "ns", f"echo-{cluster}", "u", "10.0.0.1") if cluster else None
    start = due + late
    return Observation(Source("east", "east-1", pod), "echo.ns:80/tcp", due, start, start, outcome, by, "", blur)


def row(
    letters: str, begin: float = 0.0, step: float = STEP, pod: str = "client-0", blur: float = 0.0
) -> list[Observation]:
    """One probe per letter, the k-th due at begin + k × step; a space is a probe that was never made."""
    places = enumerate(letters)
    return [probe(letter, begin + k * step, pod, blur=blur) for k, letter in places if letter != " "]


def eventually(
    expect: Match = FAR,
    including: Match | tuple[Match, ...] | None = None,
    since: float = 0.0,
    within: float = 4.0,
    in_a_row: int = 3,
    role: str = "claim",
    name: str = "it comes",
) -> Expectation:
    return Expectation(name, role, "eventually", expect, including, since, within, None, in_a_row, (1, 0))


def consistently(
    expect: Match = FAR,
    since: float = 0.0,
    during: float = 2.0,
    in_a_row: int = 3,
    role: str = "claim",
    name: str = "it stays",
) -> Expectation:
    return Expectation(name, role, "consistently", expect, None, since, None, during, in_a_row, (1, 0))


def sticky(since: float = 0.0, during: float = 2.0, in_a_row: int = 3) -> Expectation:
    return Expectation("it sticks", "claim", "sticky", ANY, None, since, None, during, in_a_row, (1, 0))


def tally(since: float = 0.0, within: float | None = None) -> Expectation:
    return Expectation("the move", "observed", "tally", ANY, None, since, within, None, 1, (1, 0))


def percentile(since: float = 0.0, within: float = 1.0) -> Expectation:
    """Of one sample: the first answer from afar."""
    samples = (Sample(since, FAR, "echo.ns:80/tcp"),)
    least, over = 1, (1, 0)
    return Expectation(
        "p95", "claim", "percentile", ANY, None, since, within, None, least, over, samples=samples, percent=95.0
    )


def history(*steps: tuple[Sequence[Observation], Expectation] | Event) -> History:
    """Each step's observations followed by the expectation over exactly them."""
    entries: list[Entry] = [CASE]
    for step in steps:
        if isinstance(step, Event):
            entries.append(step)
            continue
        seen, expectation = step
        first = len(entries) + 1
        entries.extend(seen)
        entries.append(replace(expectation, over=(first, len(entries))))
    return History(tuple(entries))


def verdict(seen: Sequence[Observation], expectation: Expectation) -> Verdict:
    return check(history((seen, expectation))).verdict
