"""As many observations as were planned, whatever becomes of the output; and times that are honest about the clocks."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.api import ExecFailed, Executed
from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures import traffic
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.history import Observation
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.probes import REQUESTS_PER_SECOND_MAX, Pod, Sender, Spare, Target, paced, probe, probe_all

EAST = Cluster(ClusterSpec("east", 1, 2, "10.101.0.0/24", "10.141.0.0/16", "172.20.0.0/16"), "east", Path("none"))
CLIENT = Pod("east", "east-1", "ns", "client-0")
TARGETS = (Target("echo.ns", 80, "http"), Target("10.142.0.7", 8081, "tcp"))
BY = {"cluster": "west", "node": "west-1", "namespace": "ns", "pod": "echo-1", "uid": "u", "peer": "10.141.0.2"}
CLOCK = RunClock(started_monotonic=1000.0, started_wall=0.0)
COUNT, INTERVAL = 3, 0.5
PLANNED = COUNT * len(TARGETS)
Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Pretend:
    """An executor without a cluster: a faithful output, spoilt by `spoil`; clocks as given."""

    spoil: Callable[[Lines], bytes]
    pod_clock: float = 5000.0
    shared: bool = False
    started: float = 1010.0
    first: float | None = 1010.2
    ended: float = 1012.0
    fail: str = ""

    def __call__(
        self, cluster: Cluster, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Executed:
        plan = json.loads(base64.urlsafe_b64decode(argv[-1]))
        clock = traffic.clock_identity() if self.shared else "another kernel"
        lines: Lines = [{"begin": {"monotonic": self.pod_clock, "wall": 1.0, "run": plan["run"], "clock": clock}}]
        for seq in range(plan["count"]):
            due = self.pod_clock + seq * plan["interval"]
            for target in plan["targets"]:
                row = {"target": target["id"], "seq": seq, "due": due, "start": due + 0.001, "end": due + 0.01}
                lines.append({**row, "outcome": "reached", "detail": "", "by": dict(BY)})
        end = {"rows": len(lines) - 1, "monotonic": self.pod_clock + 1.1, "wall": 2.0, "run": plan["run"]}
        out = self.spoil([*lines, {"end": end}])
        done = Executed(out, b"", None, 0, self.started, self.first, self.ended)
        if self.fail:
            raise ExecFailed(self.fail, done)
        return done


def text(lines: Lines) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def ask(execute: Pretend, spare: Spare | None = None) -> list[Observation]:
    return probe(CLIENT, EAST, TARGETS, COUNT, INTERVAL, 1.0, CLOCK, spare=spare, execute=execute)


def changed(index: int, **fields: Any) -> Callable[[Lines], bytes]:
    """The output with some fields of one line changed."""

    def spoil(lines: Lines) -> bytes:
        inner = lines[index].get("begin") or lines[index].get("end") if index in (0, -1) else lines[index]
        assert inner is not None
        inner.update(fields)
        return text(lines)

    return spoil


def test_a_faithful_output_becomes_the_observations() -> None:
    """Every row arrives, by due time and then by target, with who answered and on the run's clock."""
    seen = ask(Pretend(text))
    assert [o.to for o in seen] == ["echo.ns:80/http", "10.142.0.7:8081/tcp"] * COUNT
    assert {(o.outcome, o.by and o.by.pod, o.source.pod) for o in seen} == {(Outcome.REACHED, "echo-1", "client-0")}
    assert seen[2].due - seen[0].due == pytest.approx(INTERVAL)


SPOILT: list[tuple[str, Callable[[Lines], bytes], int, str]] = [
    ("lost tail", lambda lines: text(lines[:4]), 3, "no valid end line, 3 rows came"),
    ("partial line", lambda lines: text(lines)[:-200], 1, "cut off"),
    ("nothing", lambda _: b"", PLANNED, "no output"),
    ("a traceback", lambda _: b"Traceback (most recent call last):\n", PLANNED, "no begin line"),
    ("refused", lambda _: b'{"error":"timeout is above 0"}\n', PLANNED, "refused: timeout"),
    ("no begin", lambda lines: text(lines[1:]), PLANNED, "no begin line"),
    ("another run", changed(0, run="other"), PLANNED, "another run"),
    ("another end", changed(-1, run="other"), 0, ""),
    ("missing row", lambda lines: text(lines[:2] + lines[3:]), 1, "tells of 6 rows, 5 came"),
    ("duplicate row", lambda lines: text(lines[:3] + lines[2:]), 1, "more than one row"),
    ("duplicate that lies about its count", lambda lines: text(lines[:3] + lines[2:6] + lines[7:]), 2, "more than one"),
    ("garbage between", lambda lines: text(lines[:3]) + b"\xff\0{]\n" + text(lines[4:]), 1, "line 4"),
    ("rows after the end", lambda lines: text([*lines[:6], lines[7], lines[6]]), 1, "after the end line"),
    ("lying count, no rows", lambda lines: text([lines[0], lines[-1]]), PLANNED, "tells of 6 rows, 0 came"),
    ("lying count, all rows", changed(-1, rows=5), 0, ""),
    ("unplanned target", changed(3, target="9"), 1, "not planned"),
    ("unplanned seq", changed(3, seq=3), 1, "not planned"),
    ("seq of another kind", changed(3, seq=True), 1, "seq is True"),
    ("due at will", changed(3, due=5000.3), 1, "another time"),
    ("ended before it started", changed(3, end=1.0), 1, "impossible order"),
    ("not a number", changed(3, end=float("nan")), 1, "end is nan"),
    ("a number without end", changed(3, end=10**400), 1, "too large"),
    ("unknown outcome", changed(3, outcome="fine"), 1, "line 4"),
    ("reached by nobody", changed(3, by=None), 1, "by is None"),
    ("answerer without a name", changed(3, by={**BY, "pod": ""}), 1, "empty field"),
    ("denied, yet answered", changed(3, outcome="refused"), 1, "not exactly"),
]


@pytest.mark.parametrize(("spoil", "lost", "why"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_what_is_lost_is_a_harness_error_that_says_why(spoil: Callable[[Lines], bytes], lost: int, why: str) -> None:
    """Planned equals returned; exactly the probes without a valid row are harness errors, and never denials."""
    seen = ask(Pretend(spoil))
    errors = [o for o in seen if o.outcome is Outcome.HARNESS_ERROR]
    assert (len(seen), len(errors)) == (PLANNED, lost)
    assert all(why in o.detail and o.by is None for o in errors)
    assert {o.outcome for o in seen} <= {Outcome.REACHED, Outcome.HARNESS_ERROR}
    assert [o.to for o in seen] == [str(target) for target in TARGETS] * COUNT


def test_a_failed_exec_keeps_the_rows_that_came() -> None:
    """The payload decides: whole rows count although the exec failed, the rest says what the exec said."""
    seen = ask(Pretend(lambda lines: text(lines[:4]), fail="closed without status"))
    assert [o.outcome for o in seen] == [Outcome.REACHED] * 3 + [Outcome.HARNESS_ERROR] * 3
    assert "exec: closed without status" in seen[-1].detail
    assert seen[-1].due - seen[0].due == pytest.approx(2 * INTERVAL)


SPARE = Spare("chain", 0.75, 0.5, 10)


def with_spares(lines: Lines, *rows: dict[str, Any]) -> Lines:
    """The output with what a spare of the plan before it saw, a second before its first row."""
    earlier = {key: lines[1][key] - 1.0 for key in ("due", "start", "end")}
    return [*lines[:-1], *({"spare": {**lines[1], "seq": -1, **earlier, **row}} for row in rows), lines[-1]]


def test_what_a_spare_saw_comes_before_what_was_planned() -> None:
    """Its rows are observations like others, at the time they were made."""
    seen = ask(Pretend(lambda lines: text(with_spares(lines, {}, {"target": "1"}))), SPARE)
    assert [o.to for o in seen[:2]] == ["echo.ns:80/http", "10.142.0.7:8081/tcp"]
    assert {(o.outcome, o.by and o.by.pod) for o in seen} == {(Outcome.REACHED, "echo-1")}
    assert len(seen) == 2 + PLANNED
    assert seen[2].due - seen[0].due == pytest.approx(1.0)


@pytest.mark.parametrize("row", [{"target": "7"}, {"by": {}}, {"start": 0.0}, {"outcome": "fine"}])
def test_a_row_of_a_spare_is_as_sane_as_any(row: dict[str, Any]) -> None:
    """One that is not counts for nothing, and costs no other."""
    seen = ask(Pretend(lambda lines: text(with_spares(lines, row))), SPARE)
    assert [o.outcome for o in seen] == [Outcome.REACHED] * PLANNED


def test_what_a_spare_could_not_tell_any_more_is_a_harness_error() -> None:
    """An output that was cut off after its last row may have lost what followed."""
    seen = ask(Pretend(lambda lines: text(lines[:-1])), SPARE)
    assert [o.outcome for o in seen] == [Outcome.REACHED] * PLANNED + [Outcome.HARNESS_ERROR] * len(TARGETS)


def test_an_executor_that_breaks_is_a_harness_error() -> None:
    """A bug or a dead API server on our side costs rows, not the run."""

    def broken(*_: object, **__: object) -> Executed:
        raise RuntimeError("no such pod")

    seen = probe(CLIENT, EAST, TARGETS, COUNT, INTERVAL, 1.0, CLOCK, execute=broken)
    assert {(o.outcome, "no such pod" in o.detail) for o in seen} == {(Outcome.HARNESS_ERROR, True)}
    assert len(seen) == PLANNED


def test_another_clock_is_bracketed_by_the_exec() -> None:
    """The truth lies within blur of the time told, wherever between send and first byte the program really began."""
    for truth in (1010.0, 1010.07, 1010.2):
        first = ask(Pretend(text))[0]
        assert abs(first.due - (truth - 1000.0)) <= first.blur + 1e-9
        assert first.blur == pytest.approx(0.1)


def test_the_end_line_narrows_the_bracket() -> None:
    """A begin line that came late says little; that the program had ended by the end of the exec says the rest."""
    assert ask(Pretend(text, first=1011.9, ended=1012.0))[0].blur == pytest.approx(0.45)
    assert ask(Pretend(lambda lines: text(lines[:-1]), first=1011.9, ended=1012.0))[0].blur == pytest.approx(0.95)


def test_a_shared_clock_needs_no_guess() -> None:
    """A pod under our own kernel stamps our own clock: no blur, and times as they are."""
    first = ask(Pretend(text, pod_clock=1010.15, shared=True))[0]
    assert first.due == pytest.approx(10.15)
    assert first.blur == 0.0


def test_clocks_that_contradict_each_other_void_the_batch() -> None:
    """A pod in which more time went by than outside it cannot be placed, so nothing is claimed about when."""
    seen = ask(Pretend(text, first=1010.2, ended=1010.5))
    assert {o.outcome for o in seen} == {Outcome.HARNESS_ERROR}
    assert "contradict each other by 0.600 s" in seen[0].detail


def test_nothing_to_probe_is_refused() -> None:
    """No targets, or no request, would be a batch that passes because nothing ran."""
    for targets, count in (((), 3), (TARGETS, 0)):
        with pytest.raises(ValueError, match="nothing to probe"):
            probe(CLIENT, EAST, targets, count, INTERVAL, 1.0, CLOCK, execute=Pretend(text))


def test_many_sources_ask_at_once_and_answer_in_order() -> None:
    """Results come in the order of the senders, each whole, whoever was ready first."""
    senders = [Sender(Pod("east", "east-1", "ns", f"client-{n}"), EAST, TARGETS[: 1 + n % 2]) for n in range(6)]
    results = probe_all(senders, COUNT, INTERVAL, 1.0, CLOCK, execute=Pretend(text))
    assert [len(result) for result in results] == [3, 6] * 3
    assert [result[0].source.pod for result in results] == [f"client-{n}" for n in range(6)]


def test_the_real_program_is_understood() -> None:
    """What the traffic program prints today is what is read here, end to end but for the exec."""

    def here(
        cluster: Cluster, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Executed:
        started = time.monotonic()
        done = subprocess.run([sys.executable, traffic.__file__, *argv[2:]], capture_output=True, timeout=timeout)
        return Executed(done.stdout, done.stderr, None, done.returncode, started, None, time.monotonic())

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        asked = [Target("127.0.0.1", closed.getsockname()[1], "tcp")]
        seen = probe(CLIENT, EAST, asked, 2, 0.01, 30, RunClock(), execute=here)
    assert [(o.outcome, o.blur) for o in seen] == [(Outcome.REFUSED, 0.0)] * 2


def test_a_look_of_many_takes_its_time() -> None:
    """All of its requests together are no more than two cores answer; a small one keeps its own pace."""
    sender = Sender(CLIENT, EAST, TARGETS)
    assert paced([sender], 0.02) == 0.02
    assert paced([sender] * REQUESTS_PER_SECOND_MAX, 0.02) == len(TARGETS)
