"""The page on the terminal: golden, narrow, plain where it must be, and legible for many clusters."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from meshproof.fixtures import results
from meshproof.fixtures.results import RunResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.report.console import print_page
from meshproof.report.page import COLUMNS
from meshproof.report.view import view
from tests.sample_runs import broken, case, every_pair, one_of_each, run

pytest_plugins = ["pytester"]

RUN_DIR = Path("runs/latest")
SIX = ("east", "west", "north", "south", "up", "down")

TITLE = (
    "FAILED 1 of 7, 2 not built (meshproof list --not-built): "
    "meshproof reference mesh 0.1.0 (says nothing about Cilium or AKS)"
)
GOLDEN = f"""\
{TITLE}

fleet    two (embedded): east v1.36.3, west v1.36.3
suite    conformance, profile cilium, seed 7, meshproof 0.1.0
started  2026-11-22T04:35:00Z, took 1 min 15 s

requirement  east>west    west>east
DISC-01      + passed     + passed     A global service answers from every cluster in every cluster
DISC-02                   ? UNKNOWN    A service without local pods is answered by the other
                                       clusters alone
DISC-04      X FAILED     ? UNKNOWN    A cluster that stops sharing is left alone by its peers and
                                       keeps using both
DISC-18      = observed                The time from a ready pod to its first remote reply stays in
                                       bounds
LB-04        - unsupp.                 Local affinity holds while a local backend lives

X FAILED  DISC-04[east-west]  A cluster that stops sharing is left alone by its peers and keeps
    using both
    promised: the peer stops using the unshared backends
    seen: 1 of 40 replies still came from east after 10.0 s
    evidence: cases/DISC-04[east-west]/history.jsonl
    again: meshproof run --fleet two --seed 7 -k 'DISC-04[east-west]'

? UNKNOWN  DISC-04[west-east]  A cluster that stops sharing is left alone by its peers and keeps
    using both
    promised: A cluster that stops sharing is left alone by its peers and keeps using both
    seen: 3 of 40 probes were lost with their pod
    evidence: runs/latest/cases/DISC-04[west-east]/history.jsonl
    again: meshproof run --fleet two --seed 7 -k 'DISC-04[west-east]'

? UNKNOWN  DISC-02[west-east]  A service without local pods is answered by the other clusters alone
    promised: A service without local pods is answered by the other clusters alone
    seen: planned, but never reported: the run or its worker ended first
    evidence: none was recorded

observed, no promise made
  DISC-18  ready_to_reply_seconds_p95 0.8 (1 case)

unsupported here
  the mesh does not offer affinity: LB-04[east-west]

excluded on request: DISC-05

slowest  DISC-01[east-west] 2.5 s, DISC-01[west-east] 2.5 s, DISC-04[east-west] 2.5 s,
         DISC-04[west-east] 2.5 s, DISC-18[east-west] 2.5 s
claims   1 failed (C10), 2 unknown (C11, C16), 20 not checked, 4 not promised of 27; each is in
         report.yaml
report   runs/latest/report.yaml, junit.xml, allure-results/
again    meshproof run conformance --fleet two --seed 7
counts   2 passed, 1 observed, 1 failed, 2 unknown, 1 unsupported, 1 excluded
{TITLE}
"""


class Terminal(io.StringIO):
    """A TTY as far as a writer can tell."""

    def isatty(self) -> bool:
        return True


def printed(result: RunResult, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    print_page(view(result), RUN_DIR, out)
    return out.getvalue()


def test_the_page_is_as_agreed() -> None:
    """A run with every verdict prints exactly this page where there is no terminal."""
    assert printed(one_of_each()) == GOLDEN


def test_first_and_last_line_name_mesh_and_verdict() -> None:
    """Whoever quotes the first or the last line says which mesh was tested and how it came out."""
    lines = printed(run(case())).splitlines()
    assert lines[0] == lines[-1] == "PASSED 1 of 1: meshproof reference mesh 0.1.0 (says nothing about Cilium or AKS)"


@pytest.mark.parametrize("count", [2, 3, 6, 12, 40])
def test_no_line_is_too_wide(count: int) -> None:
    """From two to forty clusters every line keeps to the columns, with a broken pair and a long message among them."""
    names = tuple(f"cluster-{n}" for n in range(count))
    cases = [*every_pair(names, "DISC-01"), *every_pair(names, "DISC-04")]
    cases[-1] = replace(broken("DISC-04", (names[-1], names[-2])), message="seen: " + "several words " * 60)
    wide = [text for text in printed(run(*cases, names=names, exit_code=1)).splitlines() if len(text) > COLUMNS]
    assert not wide


def test_a_title_is_never_cut() -> None:
    """Two clusters have titles beside the rows, three below them: whole either way."""
    for names in (("east", "west"), ("east", "west", "north")):
        text = printed(run(*every_pair(names, "DISC-04"), names=names))
        assert "A cluster that stops sharing is left alone by its peers and keeps using both" in " ".join(text.split())


def test_measured_values_of_all_pairs_are_one_line() -> None:
    """What is observed is listed as a spread over the pairs, of what is promised only the percentiles."""
    seen = {"ready, p95 seconds": 0.2, "seconds until it came": 0.1, "ready, samples": 30}
    pairs = (("east", "west"), ("west", "east"))
    first, second = (replace(case("DISC-18", pair), observed=seen) for pair in pairs)
    second = replace(second, observed={**seen, "ready, p95 seconds": 0.35})
    odd = [replace(case("LB-12", pair, Verdict.OBSERVED), observed={"share from west": 0.5}) for pair in pairs]
    never = replace(odd[1], observed={"share from west": "never"})
    text = printed(run(first, second, odd[0], never))
    assert "measured\n  DISC-18  ready: p95 seconds 0.2 to 0.35, samples 30 (2 cases)\n" in text
    assert "observed, no promise made\n  LB-12  share from west 0.5, never (1) (2 cases)\n" in text
    assert "seconds until" not in text


def test_the_claims_are_one_line() -> None:
    """The page counts how the documents' claims came out, and names those that are broken or held."""
    held = [each for id in ("DISC-01", "DISC-02") for each in every_pair(("east", "west"), id)]
    assert "claims   1 held (C11), 2 in part, 20 not checked, 4 not promised of 27" in printed(run(*held))


def test_six_clusters_get_a_grid_only_where_pairs_differ() -> None:
    """With 30 pairs an agreed requirement is one line, and a mixed one a grid that shows the broken pair."""
    cases = [*every_pair(SIX, "DISC-01"), *every_pair(SIX, "DISC-04")]
    cases = [broken("DISC-04", ("east", "up")) if each.id == "DISC-04[east-up]" else each for each in cases]
    text = printed(run(*cases, names=SIX, exit_code=1))
    assert "DISC-01      + passed    all 30 pairs  A global service answers" in text
    assert "DISC-04      + passed" not in text
    grid = text[text.index("  from \\ to") :].splitlines()[:7]
    assert grid[0].split() == ["from", "\\", "to", *SIX]
    assert grid[1].split() == ["east", *["+", "passed"] * 3, "X", "FAILED", "+", "passed"]
    assert all("X" not in row for row in grid[2:])


def test_a_fleet_too_large_for_a_grid_lists_what_is_not_the_rule() -> None:
    """With twenty clusters the broken pair is named and the others are counted."""
    names = tuple(f"cluster-{n}" for n in range(20))
    cases = list(every_pair(names, "DISC-04"))
    cases[0] = broken("DISC-04", ("cluster-0", "cluster-1"))
    text = printed(run(*cases, names=names, exit_code=1))
    assert "  X FAILED    cluster-0>cluster-1\n  + passed    the other 379 pairs\n" in text


def test_without_a_terminal_there_are_no_control_codes() -> None:
    """What a pod answered reaches a CI log spelled out, never as an escape sequence or a line of its own."""
    odd = replace(broken(), message="seen: \x1b[32mall good\x1b[0m\rPASSED \x9b1m\u202e\nagain: x")
    text = printed(run(odd, exit_code=1))
    assert not [c for c in text if c != "\n" and not c.isprintable()]
    assert "seen: \\x1b[32mall good\\x1b[0m\\x0dPASSED" in text


def test_a_terminal_gets_colour_and_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour is an addition: without the escape sequences the page on a terminal is the plain page."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    text = printed(one_of_each(), Terminal())
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert [each.rstrip() for each in plain.splitlines()] == GOLDEN.splitlines()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_may_decline_colour(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """NO_COLOR and TERM=dumb give the plain page on a terminal too."""
    monkeypatch.setenv(name, value)
    assert printed(one_of_each(), Terminal()) == GOLDEN


def test_square_brackets_are_words_not_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message cannot colour or hide itself with rich's markup."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "[green]fine[/green]" in printed(run(replace(broken(), message="seen: [green]fine[/green]")), Terminal())


def test_an_ascii_terminal_is_no_crash(tmp_path: Path) -> None:
    """An output that cannot show a character gets a question mark for it."""
    path = tmp_path / "log"
    with path.open("w", encoding="ascii") as out:
        print_page(view(run(replace(broken(), message="seen: east → west"), exit_code=1)), RUN_DIR, out)
    assert "seen: east ? west" in path.read_text()


def test_a_command_stays_whole() -> None:
    """A rerun command is one line however long, so that it can be copied."""
    command = "meshproof run --fleet two --seed 7 " + " ".join(f"--option-{n} value" for n in range(20))
    text = printed(run(replace(broken(), message="", rerun=command), exit_code=1))
    assert f"    again: {command}\n" in text


def test_a_red_case_without_a_message_still_has_four_parts() -> None:
    """Promise, sight, evidence and rerun are told from what is known when the case wrote none."""
    text = printed(run(case(verdict=Verdict.UNKNOWN, reason="the pod died"), exit_code=11))
    for part in ("promised: A global", "seen: the pod died", "evidence: runs/latest/cases/DISC-01", "again: meshproof"):
        assert f"    {part}" in text


def test_many_cases_with_one_reason_are_told_together() -> None:
    """Hundreds of cases that an interrupt left unjudged are one paragraph; what has a message of its own is in full."""
    why = "it was planned, and the run ended before it was reported"
    left = [replace(one, verdict=Verdict.UNKNOWN, reason=why) for one in every_pair(tuple("abcdef"), "DISC-01")]
    shown = " ".join(printed(run(broken(), *left, exit_code=1)).split())
    assert f"? UNKNOWN 30 cases were not judged: {why} DISC-01[a-b]," in shown
    assert shown.count(why) == 1
    assert "X FAILED DISC-04[east-west]" in shown


def test_an_empty_run_is_no_green_page() -> None:
    """A run without a case says that nothing ran."""
    lines = printed(run(exit_code=5)).splitlines()
    assert lines[0].startswith("NOTHING RAN of 0 (exit 5): meshproof reference mesh")
    assert "counts   no cases at all" in lines


def test_plain_pytest_writes_the_reports_and_prints_the_page(pytester: pytest.Pytester) -> None:
    """When the plugin below says that a run has ended, its directory holds the reports and the terminal the page."""
    pytester.makeconftest(
        """
        from pathlib import Path
        from meshproof.fixtures import results

        def pytest_sessionfinish(session):
            run = results.load(Path("run"))
            session.config.hook.pytest_meshproof_run_finished(run=run, run_dir=Path("run"), config=session.config)
        """
    )
    pytester.makepyfile("def test_nothing(): pass")
    results.save(pytester.path / "run", one_of_each())
    found = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    found.stdout.fnmatch_lines(
        ["FAILED 1 of 7, 2 not built (*): meshproof reference mesh*", "DISC-01 *+ passed*+ passed*"]
    )
    assert {"report.yaml", "junit.xml", "allure-results"} <= {path.name for path in (pytester.path / "run").iterdir()}


def test_the_report_plugin_is_silent_without_a_run(pytester: pytest.Pytester) -> None:
    """Loaded alone, as in everybody's pytest session, it imports no report code and prints nothing."""
    pytester.makepyfile(
        """
        import sys
        def test_nothing():
            assert "meshproof.report.plugin" in sys.modules
            heavy = {"rich", "yaml", "junitparser", "allure_commons", "meshproof.fixtures.results"}
            assert not heavy & set(sys.modules)
        """
    )
    found = pytester.runpytest_subprocess("-p", "no:meshproof")
    found.assert_outcomes(passed=1)
    assert "meshproof reference mesh" not in found.stdout.str()
