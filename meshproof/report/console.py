"""The page a person reads when a run has ended: what was tested, the matrix, each red case in full, where the rest is.

Its first and last line name the mesh under test and the verdict and are never broken in two, because they are what gets
grepped for and quoted; all other lines keep to 100 columns, except paths and commands, which stay whole to be copied.
How the matrix of a large fleet keeps to them: `matrix`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.report import ALLURE_FOLDER, JUNIT_FILE, REPORT_FILE
from meshproof.report.matrix import MARKS, STYLES, matrix
from meshproof.report.page import Line, Piece, line, paragraph, plain, printable
from meshproof.report.view import RED, View, area, headline

_SLOWEST = 5
_TO_BE_COPIED = ("again:", "evidence:")


def page(seen: View, run_dir: Path) -> tuple[Line, ...]:
    """The whole page, the same words with and without colour; a run below the current directory is named from there."""
    if run_dir.is_relative_to(Path.cwd()):
        run_dir = run_dir.relative_to(Path.cwd())
    title = line(f"{headline(seen)}: {seen.run.mesh}", "good" if seen.run.exit_code == 0 else "bad")
    return (title, *_about(seen), *matrix(seen), *_red(seen, run_dir), *_neutral(seen), *_ending(seen, run_dir), title)


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
        for case in seen.of(verdict):
            yield line()
            yield from paragraph(f"{case.id}  {case.title}", f"{MARKS[verdict]}  ", hang="    ", style="bad")
            for text in "\n".join(_four_parts(case, run_dir)).split("\n"):
                whole = text.startswith(_TO_BE_COPIED)
                yield from [line(f"    {printable(text)}")] if whole else paragraph(text, "    ")


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


def _neutral(seen: View) -> Iterator[Line]:
    observed = [case for case in seen.of(Verdict.OBSERVED) if case.observed]
    if observed:
        yield from (line(), line("observed, no promise made", "strong"))
        for case in observed:
            values = ", ".join(f"{name}={value}" for name, value in case.observed.items())
            yield from paragraph(f"{case.id}  {values}", "  ", hang="      ")
    unsupported: dict[str, list[str]] = {}
    for case in seen.of(Verdict.UNSUPPORTED):
        unsupported.setdefault(case.reason, []).append(case.id)
    if unsupported:
        yield from (line(), line("unsupported here", "strong"))
        for reason, ids in unsupported.items():
            yield from paragraph(f"{reason}: {', '.join(ids)}", "  ", hang="      ")
    not_built: dict[str, set[str]] = {}
    for case in seen.of(Verdict.NOT_BUILT):
        not_built.setdefault(area(case.requirement), set()).add(case.requirement)
    if not_built:
        yield line()
        areas = ", ".join(f"{name} {len(ids)}" for name, ids in not_built.items())
        yield from paragraph(f"{areas} (each is listed in {REPORT_FILE})", "not built yet: ", hang="  ")
    if excluded := seen.of(Verdict.EXCLUDED):
        yield line()
        yield from paragraph(", ".join(case.id for case in excluded), "excluded on request: ", hang="  ")


def _ending(seen: View, run_dir: Path) -> Iterator[Line]:
    slowest = sorted(seen.judged(), key=lambda case: -case.seconds)[:_SLOWEST]
    yield line()
    if slowest:
        yield from paragraph(", ".join(f"{case.id} {_duration(case.seconds)}" for case in slowest), "slowest  ")
    for note in (*seen.run.notes, *(f"{each} reported a result but was not planned" for each in seen.unplanned)):
        yield from paragraph(note, "note     ")
    yield line(f"report   {run_dir / REPORT_FILE}, {JUNIT_FILE}, {ALLURE_FOLDER}/")
    yield line(f"again    {printable(seen.run.command)}")
    yield _counts(seen)


def _counts(seen: View) -> Line:
    pieces = [Piece("counts   ")]
    for verdict, count in seen.counts().items():
        if count:
            comma = ", " if len(pieces) > 1 else ""
            pieces += [Piece(comma), Piece(f"{count} {verdict.value.replace('-', ' ')}", STYLES[verdict])]
    return tuple(pieces) if len(pieces) > 1 else line("counts   no cases at all")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
