"""A history reads back as it was written, or not at all."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproof.fixtures.history import (
    Answerer,
    CaseHeader,
    Entry,
    Event,
    Expectation,
    HistoryDamaged,
    Match,
    Observation,
    Recorder,
    Sample,
    Shares,
    Source,
    load,
)
from meshproof.fixtures.lines import decode, encode
from meshproof.fixtures.outcomes import Outcome


@dataclass
class Still:
    time: float = 1.5

    def now(self) -> float:
        return self.time


CASE = CaseHeader("DISC-04[east-west]", "DISC-04", ("east", "west"), "cilium", 7, "two")
BY = Answerer("west", "west-1", "ns", "echo-0", "u", "10.141.1.7")
SEEN = Observation(Source("east", "east-1", "client-0"), "echo.ns:80/tcp", 2.0, 2.1, 2.2, Outcome.REACHED, BY, "", 0.03)
WANTED = Expectation(
    "far answers", "claim", "eventually", Match(cluster="west"), Match(pod="echo-0"), 1.5, 10.0, None, 3, (3, 3)
)

text = st.text(max_size=8)
names = st.text(min_size=1, max_size=8)
seconds = st.floats(-1e9, 1e9)
bounds = st.floats(1e-9, 1e9)
answerers = st.builds(Answerer, text, text, text, text, text, text)


def row(times: list[float], outcome: Outcome, by: Answerer | None, blur: float, detail: str) -> Observation:
    due, start, end = sorted(times)
    return Observation(Source("east", "n", "p"), "t", due, start, end, outcome, by, detail, blur)


three = st.lists(seconds, min_size=3, max_size=3)
unreached = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.REACHED])
observations = st.one_of(
    st.builds(row, three, st.just(Outcome.REACHED), st.none() | answerers, bounds, text),
    st.builds(row, three, unreached, st.none(), bounds, text),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(text, json_values, max_size=3)
match_values = st.one_of(
    st.builds(Match, st.none() | st.just(Outcome.REACHED), names, st.none(), st.none() | names, st.none()),
    st.builds(
        Match,
        st.just(Outcome.REACHED),
        pods=st.lists(st.text("ab", min_size=1), max_size=3).map(tuple),
        not_pods=st.lists(st.text("cd", min_size=1), max_size=3).map(tuple),
        detail=st.none() | names,
    ),
)
ranges = st.tuples(st.integers(0, 99), st.integers(0, 99))
roles = st.sampled_from(["claim", "control", "observed"])
several = st.lists(match_values, min_size=1, max_size=3).map(tuple)
shares = st.lists(names, min_size=2, max_size=5, unique=True).map(
    lambda groups: Shares("pod", tuple((name, 1 / len(groups)) for name in groups))
)
samples = st.lists(st.builds(Sample, seconds, match_values, names), min_size=1, max_size=3).map(tuple)
nothing = st.none()
expectations = st.one_of(
    st.builds(
        Expectation,
        *(names, roles, st.just("eventually"), match_values, st.none() | match_values | several),
        *(seconds, bounds, st.none(), st.integers(1, 99), ranges),
    ),
    st.builds(
        Expectation,
        *(names, roles, st.sampled_from(["consistently", "sticky"]), match_values, st.none()),
        *(seconds, st.none(), bounds, st.integers(1, 99), ranges),
    ),
    st.builds(
        Expectation,
        *(names, roles, st.just("distribution"), match_values, nothing, seconds, nothing, nothing),
        *(st.integers(1, 99), ranges, shares),
    ),
    st.builds(
        Expectation,
        *(names, roles, st.just("percentile"), match_values, nothing, seconds, bounds, nothing),
        *(st.integers(1, 99), ranges, nothing, samples, st.floats(0.1, 100)),
    ),
    st.builds(
        Expectation,
        *(names, st.just("observed"), st.just("tally"), match_values, nothing, seconds, nothing | bounds, nothing),
        *(st.integers(1, 99), ranges),
    ),
)
headers = st.builds(CaseHeader, text, text, st.none() | st.tuples(text, text), text, st.integers(), text)


@given(st.one_of(headers, observations, st.builds(Event, text, seconds, objects, objects), expectations))
def test_every_entry_survives_the_file(entry: Entry) -> None:
    """What is written reads back equal, bit for bit, on one line."""
    line = encode(7, entry)
    assert "\n" not in line
    assert decode(7, line) == entry


@settings(max_examples=20)
@given(st.lists(observations, max_size=5), objects)
def test_a_recorder_reads_back_what_load_reads(rows: list[Observation], detail: dict[str, object]) -> None:
    """The live history and the stored one are the same value, so live and replayed verdicts are too."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "history.jsonl"
        with Recorder(path, Still(), CASE) as recorder:
            assert recorder.observe(rows) == range(2, 2 + len(rows))
            assert recorder.event("annotate", detail=detail).at == 1.5
            recorder.expect(WANTED)
            assert load(path) == recorder.history()


def test_the_lines_are_as_the_interface_says(tmp_path: Path) -> None:
    """The keys of each kind, in the file, are those other tools read."""
    path = written(tmp_path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert list(lines[0]) == ["v", "kind", "n", "id", "requirement", "pair", "profile", "seed", "fleet"]
    assert list(lines[1]) == ["v", "kind", "n", "name", "at", "target", "detail"]
    seen = ["v", "kind", "n", "from", "to", "due", "start", "end", "outcome", "by", "detail", "blur"]
    assert list(lines[2]) == seen
    assert lines[3]["expect"] == {"cluster": "west"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_history_of_before_reads_as_it_did() -> None:
    """A line written before there were shares, samples and several pods: its keys are all there still are."""
    line = (
        '{"v":1,"kind":"expectation","n":9,"name":"far answers","role":"claim","rule":"eventually",'
        '"expect":{"cluster":"west"},"including":{"pod":"echo-0"},"since":1.5,"within":10.0,"during":null,'
        '"in_a_row":3,"over":[3,3]}'
    )
    assert decode(9, line) == WANTED
    assert encode(9, WANTED) == line


def written(tmp_path: Path) -> Path:
    path = tmp_path / "history.jsonl"
    with Recorder(path, Still(), CASE) as recorder:
        recorder.event("annotate", {"cluster": "west"}, {"shared": "false"})
        recorder.observe([SEEN])
        recorder.expect(WANTED)
    return path


def change(line: int, edit: Callable[[dict[str, Any]], object]) -> Callable[[list[str]], list[str]]:
    def apply(lines: list[str]) -> list[str]:
        record = json.loads(lines[line - 1])
        edit(record)
        return [*lines[: line - 1], json.dumps(record) + "\n", *lines[line:]]

    return apply


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:-9]], 4),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], 4),
        (lambda lines: [], 1),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [*lines, lines[-1]], 5),
        (lambda lines: [*lines[:2], "\n", *lines[2:]], 3),
        (lambda lines: [*lines[:2], "[" * 100_000 + "\n"], 3),
        (lambda lines: [*lines[:2], "[]\n"], 3),
        (lambda lines: [*lines[:2], lines[2].replace('"due":2.0', '"due":NaN')], 3),
        (lambda lines: [*lines[:2], lines[2].replace('"due":2.0', '"due":1e999')], 3),
        (lambda lines: [*lines[:2], lines[2].replace('"due":2.0', '"due":1' + "0" * 400)], 3),
        (lambda lines: [*lines[:2], lines[2].replace('"due":2.0', '"due":2.0,"due":3.0')], 3),
        (change(1, lambda r: r.update(v=2)), 1),
        (change(1, lambda r: r.update(kind="event")), 1),
        (change(1, lambda r: r.update(pair=["east"])), 1),
        (change(3, lambda r: r.update(kind="rumour")), 3),
        (change(3, lambda r: r.update(n=True)), 3),
        (change(3, lambda r: r.update(extra=1)), 3),
        (change(3, lambda r: r.pop("blur")), 3),
        (change(3, lambda r: r["by"].update(extra="x")), 3),
        (change(3, lambda r: r["by"].pop("peer")), 3),
        (change(3, lambda r: r.update(outcome="fine")), 3),
        (change(3, lambda r: r.update(outcome="timed-out")), 3),
        (change(3, lambda r: r.update(due="2")), 3),
        (change(3, lambda r: r.update(due=True)), 3),
        (change(3, lambda r: r.update(end=0.0)), 3),
        (change(3, lambda r: r.update(blur=-1)), 3),
        (change(4, lambda r: r.update(rule="sometimes")), 4),
        (change(4, lambda r: r.update(role="hope")), 4),
        (change(4, lambda r: r.update(within=None)), 4),
        (change(4, lambda r: r.update(during=1.0)), 4),
        (change(4, lambda r: r.update(in_a_row=0)), 4),
        (change(4, lambda r: r.update(over=[1])), 4),
        (change(4, lambda r: r.update(over=[1.0, 2])), 4),
        (change(4, lambda r: r.update(expect={})), 4),
        (change(4, lambda r: r.update(expect={"pod": None})), 4),
        (change(4, lambda r: r.update(name="")), 4),
        (change(4, lambda r: r.update(rule="linearizable")), 4),
        (change(4, lambda r: r.update(rule="distribution", within=None)), 4),
        (change(4, lambda r: r.update(shares={"by": "pod", "of": [["a", 0.5], ["b", 0.5]], "nodes": 2})), 4),
        (change(4, lambda r: r.update(samples=[])), 4),
        (change(4, lambda r: r.update(percent=95)), 4),
        (change(4, lambda r: r.update(including=[])), 4),
        (change(4, lambda r: r.update(expect={"pods": "echo-0"})), 4),
        (change(4, lambda r: r.update(expect={"pods": []})), 4),
    ],
)
def test_damage_is_found_and_placed(tmp_path: Path, damage: Callable[[list[str]], list[str]], line: int) -> None:
    """Whatever is lost, doubled, moved or bent, loading refuses and names the line."""
    path = written(tmp_path)
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    with pytest.raises(HistoryDamaged) as caught:
        load(path)
    assert caught.value.line == line


def test_a_file_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, and a file that is not there, are damage and not a crash."""
    path = tmp_path / "x"
    with pytest.raises(HistoryDamaged):
        load(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(HistoryDamaged):
        load(path)


def test_threads_do_not_mix_lines(tmp_path: Path) -> None:
    """Four writers at once leave whole lines, numbered without a hole, each batch side by side."""
    path = tmp_path / "history.jsonl"
    with Recorder(path, Still(), CASE) as recorder:
        spans: list[range] = []
        threads = [
            threading.Thread(target=lambda: spans.extend(recorder.observe([SEEN] * 5) for _ in range(20)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(load(path).observations()) == 400
    assert sorted(n for span in spans for n in span) == list(range(2, 402))


def test_a_recorder_never_writes_over_another(tmp_path: Path) -> None:
    """An existing file is kept, and a closed recorder writes no more."""
    path = written(tmp_path)
    with pytest.raises(FileExistsError):
        Recorder(path, Still(), CASE)
    recorder = Recorder(tmp_path / "b", Still(), CASE)
    recorder.close()
    with pytest.raises(OSError, match="closed"):
        recorder.observe([SEEN])


def test_what_json_cannot_hold_leaves_the_file_whole(tmp_path: Path) -> None:
    """An event with a NaN is refused before a byte is written."""
    with Recorder(tmp_path / "a", Still(), CASE) as recorder:
        with pytest.raises(ValueError, match="JSON"):
            recorder.event("annotate", detail={"x": float("nan")})
        recorder.observe([SEEN])
        assert load(recorder.path) == recorder.history()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cluster": ""},
        {"outcome": Outcome.HARNESS_ERROR},
        {"outcome": Outcome.TIMED_OUT, "cluster": "west"},
        {"cluster": "west", "not_cluster": "west"},
    ],
)
def test_a_match_that_all_or_nothing_meets_is_refused(fields: dict[str, Any]) -> None:
    """A vacuous expectation cannot even be written down."""
    with pytest.raises(ValueError, match=r"match|harness|answerer|nothing"):
        Match(**fields)
