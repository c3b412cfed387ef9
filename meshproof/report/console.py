"""The page a person reads when a run has ended: what was tested, the matrix, each red case in full, where the rest is.

Its first and last line name the mesh under test and the verdict and are never broken in two, because they are what gets
grepped for and quoted; all other lines keep to 100 columns, except paths and commands, which stay whole to be copied.
How the matrix of a large fleet keeps to them: `matrix`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.report import ALLURE_FOLDER, JUNIT_FILE, REPORT_FILE
from meshproof.report.claims import Standing, standings
from meshproof.report.matrix import MARKS, STYLES, matrix
from meshproof.report.measurements import Measurement, by_requirement, measurements
from meshproof.report.page import Line, Piece, line, paragraph, plain, printable
from meshproof.report.view import RED, View, headline

_SLOWEST = 5
_TOGETHER = 3
"""So many unjudged cases with one reason are told in one; an interrupted run has hundreds."""
_TO_BE_COPIED = ("again:", "evidence:")
_STANDINGS = (
    Standing.FAILED,
    Standing.UNKNOWN,
    Standing.HELD,
    Standing.OBSERVED,
    Standing.IN_PART,
    Standing.NOT_CHECKED,
    Standing.NOT_PROMISED,
)
_HOW_TO_LIST = " (meshproof list --not-built)"
_PERCENTILE = re.compile(r", (?:p[\d.]+ seconds|samples)$")


def page(seen: View, run_dir: Path) -> tuple[Line, ...]:
    """The whole page, the same words with and without colour; a run below the current directory is named from there."""
    if run_dir.is_relative_to(Path.cwd()):
        run_dir = run_dir.relative_to(Path.cwd())
    how = _HOW_TO_LIST if seen.of(Verdict.NOT_BUILT) else ""
    title = line(f"{headline(seen)}{how}: {seen.run.mesh}", "good" if seen.run.exit_code == 0 else "bad")
    middle = (*matrix(seen), *_red(seen, run_dir), *_measured(seen), *_neutral(seen))
    return (title, *_about(seen), *middle, *_ending(seen, run_dir), title)


def print_page(seen: View, run_dir: Path, out: TextIO) -> None:
    """Print it: in colour on a terminal that wants it, else (NO_COLOR, TERM=dumb, a pipe, a CI log) as plain text."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    lines = page(seen, run_dir)
    if not _wants_colour(out):
        for shown in lines:
            out.write(printable(plain(shown), encoding) + "\n")
        return
    from rich.console import Console
    from rich.text import Text

    palette = {"": "", "good": "green", "bad": "bold red", "dim": "dim", "strong": "bold"}
    console = Console(file=out, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for shown in lines:
        # Text is never parsed, so nothing that a pod answered can become markup.
        console.print(Text.assemble(*((printable(piece.text, encoding), palette[piece.style]) for piece in shown)))


def _wants_colour(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _about(seen: View) -> Iterator[Line]:
    run = seen.run
    members = ", ".join(f"{c['name']} {c.get('kubernetes') or '(version unknown)'}" for c in run.fleet["clusters"])
    yield line()
    yield from paragraph(f"{run.fleet.get('name', '?')} ({run.fleet.get('provider', '?')}): {members}", "fleet    ")
    suites = ", ".join(run.suites) or "none"
    yield from paragraph(f"{suites}, profile {run.profile}, seed {run.seed}, meshproof {run.suite}", "suite    ")
    yield from paragraph(f"{run.started}, took {_duration(run.seconds)}", "started  ")


def _red(seen: View, run_dir: Path) -> Iterator[Line]:
    for verdict in RED:
        bare = _by_reason(case for case in seen.of(verdict) if not case.message)
        together = {reason: cases for reason, cases in bare.items() if len(cases) >= _TOGETHER}
        for reason, cases in together.items():
            yield line()
            told = f"{len(cases)} cases were not judged: {reason}"
            yield from paragraph(told, f"{MARKS[verdict]}  ", hang="    ", style="bad")
            yield from paragraph(", ".join(case.id for case in cases), "    ")
        for case in seen.of(verdict):
            if not case.message and case.reason in together:
                continue
            yield line()
            yield from paragraph(f"{case.id}  {case.title}", f"{MARKS[verdict]}  ", hang="    ", style="bad")
            for text in "\n".join(_four_parts(case, run_dir)).split("\n"):
                whole = text.startswith(_TO_BE_COPIED)
                yield from [line(f"    {printable(text)}")] if whole else paragraph(text, "    ")


def _by_reason(cases: Iterable[CaseResult]) -> dict[str, list[CaseResult]]:
    found: dict[str, list[CaseResult]] = {}
    for case in cases:
        found.setdefault(case.reason, []).append(case)
    return found


def _four_parts(case: CaseResult, run_dir: Path) -> Iterator[str]:
    """The case's own message; where it has none, the same four parts from what is known."""
    if case.message:
        yield case.message
    else:
        yield f"promised: {case.title}"
        yield f"seen: {case.reason}"
        yield f"evidence: {run_dir / case.history if case.history else 'none was recorded'}"
    if case.rerun and case.rerun not in case.message:
        yield f"again: {case.rerun}"


def _measured(seen: View) -> Iterator[Line]:
    """What was observed, all of it; of what was promised only the percentiles, every wait being in the record."""
    observed = measurements(seen.of(Verdict.OBSERVED))
    promised = measurements(case for case in seen.judged() if case.verdict is not Verdict.OBSERVED)
    percentiles = [each for each in promised if _PERCENTILE.search(each.name)]
    for title, found in (("observed, no promise made", observed), ("measured", percentiles)):
        if found:
            yield from (line(), line(title, "strong"))
            yield from _quantities(found)


def _quantities(found: Iterable[Measurement]) -> Iterator[Line]:
    for requirement, group in by_requirement(found).items():
        count = max(each.cases for each in group)
        values = "; ".join(_told(group))
        yield from paragraph(f"{requirement}  {values} ({count} case{'s' if count > 1 else ''})", "  ", hang="      ")


def _told(group: Iterable[Measurement]) -> Iterator[str]:
    """Quantities of one expectation together: "the shares: share from east 0.5, share from west 0.5"."""
    found: dict[str, list[str]] = {}
    for each in group:
        expectation, _, quantity = each.name.rpartition(", ")
        found.setdefault(expectation, []).append(f"{quantity} {each.spread()}")
    for expectation, values in found.items():
        yield f"{expectation}: {', '.join(values)}" if expectation else ", ".join(values)


def _neutral(seen: View) -> Iterator[Line]:
    if unsupported := _by_reason(seen.of(Verdict.UNSUPPORTED)):
        yield from (line(), line("unsupported here", "strong"))
        for reason, cases in unsupported.items():
            yield from paragraph(f"{reason}: {', '.join(case.id for case in cases)}", "  ", hang="      ")
    if excluded := seen.of(Verdict.EXCLUDED):
        yield line()
        yield from paragraph(", ".join(_briefly(excluded)), "excluded on request: ", hang="  ")


def _briefly(cases: Iterable[CaseResult]) -> Iterator[str]:
    """Each requirement once, with how many of its cases where there are several."""
    counts = Counter(case.requirement for case in cases)
    for case in {case.requirement: case for case in cases}.values():
        count = counts[case.requirement]
        yield case.id if count == 1 else f"{case.requirement} ({count})"


def _claims(seen: View) -> Iterator[Line]:
    """How many claims of the documents came out how; the broken ones by name."""
    found = standings(seen)
    words = []
    for standing in _STANDINGS:
        chosen = [stood.claim.id for stood in found if stood.standing is standing]
        named = standing in (Standing.FAILED, Standing.UNKNOWN, Standing.HELD)
        if chosen:
            words.append(
                f"{len(chosen)} {standing.value.replace('-', ' ')}" + (f" ({', '.join(chosen)})" if named else "")
            )
    yield from paragraph(f"{', '.join(words)} of {len(found)}; each is in {REPORT_FILE}", "claims   ")


def _ending(seen: View, run_dir: Path) -> Iterator[Line]:
    slowest = sorted(seen.judged(), key=lambda case: -case.seconds)[:_SLOWEST]
    yield line()
    if slowest:
        yield from paragraph(", ".join(f"{case.id} {_duration(case.seconds)}" for case in slowest), "slowest  ")
    for note in (*seen.run.notes, *(f"{each} reported a result but was not planned" for each in seen.unplanned)):
        yield from paragraph(note, "note     ")
    yield from _claims(seen)
    yield line(f"report   {run_dir / REPORT_FILE}, {JUNIT_FILE}, {ALLURE_FOLDER}/")
    yield line(f"again    {printable(seen.run.command)}")
    yield _counts(seen)


def _counts(seen: View) -> Line:
    pieces = [Piece("counts   ")]
    for verdict, count in seen.counts().items():
        if count and verdict is not Verdict.NOT_BUILT:  # the headline says it
            comma = ", " if len(pieces) > 1 else ""
            pieces += [Piece(comma), Piece(f"{count} {verdict.value.replace('-', ' ')}", STYLES[verdict])]
    return tuple(pieces) if len(pieces) > 1 else line("counts   no cases at all")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
