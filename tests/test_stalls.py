"""What nobody answered while a pod of ours stood still is not held against the network; nothing else is forgiven."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.api import ExecFailed, Executed
from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures import probes
from meshproof.fixtures.checkers import check
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.history import History, Match, Observation
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.stalls import Stall, ask_stalls, excuse, unanswered
from meshproof.fixtures.traffic import NO_CONNECTION, clock_identity
from meshproof.fixtures.verdicts import Verdict
from meshproof.fixtures.workloads import Pod
from tests.histories import ANY, consistently, eventually, history, probe, row

EAST = Cluster(ClusterSpec("east", 1, 1, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16"), "east", Path("east"))
POD = Pod("east", "east-1", "ns", "echo-0", "u", "10.2.0.2", "echo")


def lasting(letters: str) -> list[Observation]:
    """Two requests a second; one without an answer took two."""
    return [replace(one, end=one.due + 2.0) if one.outcome is Outcome.TIMED_OUT else one for one in row(letters)]


def asked(letters: str, **changed: Any) -> History:
    """A case that expects an answer each time; its observations are `changed` in these fields."""
    return history(([replace(one, **changed) for one in lasting(letters)], consistently(ANY, during=3.0)))


STOOD = Stall("east/echo-0", 1.0, 2.6, 1.5)


def test_a_request_that_was_lost_while_a_pod_stood_still_is_excused() -> None:
    """The one lost request lies in the stall; without it nothing is wrong."""
    lost = asked("wwwtwwww")
    assert unanswered(lost)
    assert "east/echo-0, which answers, stood still for 1.5 s at 1.0 s of the run" in excuse(lost, [STOOD])


@pytest.mark.parametrize(
    ("letters", "told"),
    [
        ("wwwtwwwwt", [STOOD]),
        ("wwwtwwww", []),
        ("wwwtwwww", [Stall("east/echo-0", 1.0, 1.5, 0.5)]),
        ("wwwtwwww", [Stall("east/echo-0", 1.0, 3.5, 0.5)]),
        ("wwwtwwww", [Stall("east/echo-0", 1.5, 2.1, 0.6), Stall("west/echo-0", 2.2, 2.8, 0.6)]),
    ],
    ids=["another was lost later", "nobody stood still", "too short", "short at an unknown time", "of two pods"],
)
def test_what_a_stall_does_not_explain_stays_broken(letters: str, told: list[Stall]) -> None:
    """A request that was lost at another time, or in spite of a short stall, still fails."""
    assert excuse(asked(letters), told) == ""


def test_several_short_stalls_of_one_pod_add_up() -> None:
    """Two of 0.6 s leave less than half of a request's two seconds."""
    told = [Stall("east/echo-0", 1.5, 2.1, 0.6), Stall("east/echo-0", 2.2, 2.8, 0.6)]
    assert excuse(asked("wwwtwwww"), told)


def test_an_answer_from_the_wrong_place_is_never_excused() -> None:
    """A pod that stands still makes nobody else answer."""
    wrong = history((row("wwwewwww"), consistently(during=3.0)))
    assert not unanswered(wrong)
    assert excuse(wrong, [STOOD]) == ""


def test_a_request_that_found_no_connection_is_never_excused() -> None:
    """A kernel takes connections for a program that stands still, so what drops them is the network."""
    lost = asked("wwwtwwww", detail=NO_CONNECTION)
    assert not unanswered(lost)
    assert excuse(lost, [STOOD]) == ""


def test_a_question_to_a_name_server_is_never_excused() -> None:
    """No pod of ours was to answer it."""
    assert not unanswered(asked("wwwtwwww", to="x:53/dns"))


def test_another_claim_that_fails_by_itself_is_not_excused() -> None:
    """The stall explains one broken promise of two."""
    both = history(
        (lasting("wwwtwwww"), consistently(ANY, during=3.0)), (row("eeeeeeee", 9.0), consistently(since=9.0))
    )
    assert excuse(both, [STOOD]) == ""


def test_a_control_that_saw_silence_is_left_alone() -> None:
    """Only what failed is judged again: a control that was met by time-outs stays met."""
    quiet = eventually(Match(outcome=Outcome.TIMED_OUT), role="control", name="nobody answers")
    broken = history((lasting("ttt"), quiet), (row("eeeeeeee", 9.0), consistently(since=9.0)))
    assert check(broken).verdict is Verdict.FAILED
    assert excuse(broken, [Stall("east/echo-0", 0.0, 4.0, 4.0)]) == ""


def told(monkeypatch: pytest.MonkeyPatch, answer: Any, seen: History) -> list[Stall]:
    def execute(*_: Any) -> Executed:
        if isinstance(answer, Exception):
            raise answer
        return Executed(answer, b"", None, 0, time.monotonic() - 1, time.monotonic(), time.monotonic())

    monkeypatch.setattr(probes, "exec_in", execute)
    return ask_stalls([(EAST, POD)], seen, RunClock())


@pytest.mark.parametrize(("clock", "blur"), [(clock_identity(), 0.0), ("another machine's", 1.0)])
def test_a_pod_tells_its_stalls(monkeypatch: pytest.MonkeyPatch, clock: str, blur: float) -> None:
    """On our clock the place is exact; on another it lies within what asking took."""
    now = time.monotonic()
    said = {"still": [[now - 3.0, 1.5]], "now": now, "clock": clock}
    (stall,) = told(monkeypatch, json.dumps(said).encode(), asked("w"))
    assert (stall.pod, stall.seconds) == ("east/echo-0", 1.5)
    assert stall.end - stall.begin == pytest.approx(1.5 + blur, abs=0.2)
    assert stall.end == pytest.approx(-3.0, abs=0.2)


@pytest.mark.parametrize(
    "answer",
    [b"", b'{"ready": true}', b'{"still": 3}', ExecFailed("no end", Executed(b"", b"", None, None, 0, None, 0))],
)
def test_a_pod_that_cannot_tell_may_stand_still_since_its_last_answer(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """Until then it was awake, whatever it cannot tell."""
    (silent,) = told(monkeypatch, answer, asked("e"))
    assert silent.begin == 0.0
    awake = probe("e", -7.0)
    assert awake.by is not None
    (stall,) = told(monkeypatch, answer, history(([replace(awake, by=replace(awake.by, uid=POD.uid))], consistently())))
    assert stall.begin == -7.0
