"""What nobody answered while a pod of ours stood still is not held against the network; nothing else is forgiven."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.api import ExecFailed, Executed
from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures import stalls
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.history import History, Observation
from meshproof.fixtures.stalls import Stall, ask_stalls, excuse, unanswered
from meshproof.fixtures.workloads import Pod
from tests.histories import ANY, consistently, history, probe, row

EAST = Cluster(ClusterSpec("east", 1, 1, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16"), "east", Path("east"))
POD = Pod("east", "east-1", "ns", "echo-0", "u", "10.2.0.2", "echo")


def asked(letters: str, seconds: float = 2.0) -> History:
    """A case that is asked twice a second and expects an answer each time; a request without one took `seconds`."""
    lasting = [replace(one, end=one.due + seconds) if one.outcome.value == "timed-out" else one for one in row(letters)]
    return history((lasting, consistently(ANY, during=3.0)))


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


def told(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[Stall]:
    def execute(*_: Any) -> Executed:
        if isinstance(answer, Exception):
            raise answer
        return Executed(answer, b"", None, 0, 0.0, 0.0, 0.0)

    monkeypatch.setattr(stalls, "exec_in", execute)
    return ask_stalls([(EAST, POD)], RunClock())


def test_a_pod_tells_its_stalls_as_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock and ours may differ; how long ago it was does not."""
    (stall,) = told(monkeypatch, json.dumps({"still": [[3.0, 1.5]]}).encode())
    assert (stall.pod, stall.seconds) == ("east/echo-0", 1.5)
    assert stall.end - stall.begin == pytest.approx(1.5, abs=0.2)
    assert stall.end == pytest.approx(-3.0, abs=0.2)


@pytest.mark.parametrize(
    "answer",
    [b"", b'{"ready": true}', b'{"still": 3}', ExecFailed("no end", Executed(b"", b"", None, None, 0, None, 0))],
)
def test_a_pod_that_cannot_tell_may_have_stood_still_all_along(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """So a request that nobody answered is not held against the network."""
    (stall,) = told(monkeypatch, answer)
    assert stall.begin == 0.0
    lost: Observation = replace(probe("t", 0.0), end=stall.end)
    assert excuse(history(([*row("ww", -1.0), lost], consistently(ANY, -1.0, 1.0))), [stall])
