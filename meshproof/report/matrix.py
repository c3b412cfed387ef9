"""Requirements against ordered pairs of clusters, as lines of text for any number of clusters.

Three shapes, the first that fits: a table with a column for each pair; for more pairs, one line for a requirement whose
pairs all agree and a from/to grid for one whose pairs do not; for fleets too large for a grid, the pairs by verdict,
with the commonest verdict counted only. A title is never cut: it stands beside its row where there is room, wrapped,
else on lines of its own.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping

from meshproof.fixtures.requirements import catalogue
from meshproof.fixtures.verdicts import Verdict
from meshproof.report.page import COLUMNS, Line, Piece, Style, line, paragraph
from meshproof.report.view import View, worst

MARKS: Mapping[Verdict, str] = {
    Verdict.PASSED: "+ passed",
    Verdict.OBSERVED: "= observed",
    Verdict.FAILED: "X FAILED",
    Verdict.UNKNOWN: "? UNKNOWN",
    Verdict.UNSUPPORTED: "- unsupp.",
    Verdict.NOT_BUILT: ". not built",
    Verdict.EXCLUDED: "o excluded",
}
STYLES: Mapping[Verdict, Style] = {
    Verdict.PASSED: "good",
    Verdict.OBSERVED: "",
    Verdict.FAILED: "bad",
    Verdict.UNKNOWN: "bad",
    Verdict.UNSUPPORTED: "dim",
    Verdict.NOT_BUILT: "dim",
    Verdict.EXCLUDED: "dim",
}

Pair = tuple[str, str]
Row = Mapping[Pair | None, Verdict]
"""The verdict for each pair; None stands for the fleet as a whole."""

_GAP = 2
_TITLE_COLUMNS_MIN = 48
"""Beside a row only where most titles fit on a line."""


def rows(seen: View) -> Mapping[str, Row]:
    """Each requirement that has cases, in the catalogue's order; of several cases of one pair the worst verdict."""
    found: dict[str, dict[Pair | None, Verdict]] = {}
    for case in seen.judged():
        row = found.setdefault(case.requirement, {})
        row[case.pair] = worst((case.verdict, row.get(case.pair, case.verdict)))
    place = {id: n for n, id in enumerate(catalogue())}
    return {id: found[id] for id in sorted(found, key=lambda id: place.get(id, len(place)))}


def matrix(seen: View) -> Iterator[Line]:
    """The matrix and a blank line before it; nothing when no case was judged."""
    found = rows(seen)
    if not found:
        return
    yield line()
    titles = {case.requirement: case.title for case in seen.judged()}
    columns: list[Pair | None] = [pair for pair in seen.pairs() if any(pair in row for row in found.values())]
    if any(None in row for row in found.values()):
        columns.append(None)
    heads = [f"{column[0]}>{column[1]}" if column else "whole fleet" for column in columns]
    first = max(len("requirement"), *(len(each) for each in found)) + _GAP
    widths = [max(len(head), *(len(mark) for mark in MARKS.values())) + _GAP for head in heads]
    if first + sum(widths) - _GAP <= COLUMNS:
        yield from _table(found, titles, columns, heads, [first, *widths])
        return
    for requirement, row in found.items():
        yield from _requirement(requirement, row, titles[requirement], seen.clusters(), first)


def _table(
    found: Mapping[str, Row], titles: Mapping[str, str], columns: list[Pair | None], heads: list[str], widths: list[int]
) -> Iterator[Line]:
    cells = [text.ljust(width) for text, width in zip(["requirement", *heads], widths, strict=True)]
    yield line("".join(cells).rstrip(), "strong")
    room = COLUMNS - sum(widths)
    for requirement, row in found.items():
        pieces = [Piece(requirement.ljust(widths[0]))]
        for column, width in zip(columns, widths[1:], strict=True):
            pieces.append(_cell(row.get(column), width))
        yield from _titled(tuple(pieces), titles[requirement], room if room >= _TITLE_COLUMNS_MIN else 0, widths[0])


def _titled(row: Line, title: str, room: int, indent: int) -> Iterator[Line]:
    """A row and its title, wrapped in `room` columns at the row's end; below the row when there is no room."""
    if not room:
        yield row
        yield from paragraph(title, " " * indent, style="dim")
        return
    first, *more = textwrap.wrap(title, room) or [""]
    yield (*row, Piece(first, "dim"))
    for text in more:
        yield line(" " * (COLUMNS - room) + text, "dim")


def _requirement(requirement: str, row: Row, title: str, clusters: tuple[str, ...], first: int) -> Iterator[Line]:
    """One requirement of a fleet with many pairs."""
    if len(set(row.values())) == 1:
        [verdict] = set(row.values())
        everywhere = "whole fleet" if set(row) == {None} else f"all {len(row)} pairs"
        start = (Piece(requirement.ljust(first)), _cell(verdict, 12), Piece(everywhere + " " * _GAP))
        yield from _titled(start, title, COLUMNS - first - 12 - len(everywhere) - _GAP, first)
        return
    yield from _titled((Piece(requirement.ljust(first)),), title, COLUMNS - first, first)
    if None in row:
        yield (Piece("  whole fleet  "), _cell(row[None], 12))
    width = max(len("from \\ to"), *(len(mark) for mark in MARKS.values()), *(len(name) for name in clusters)) + 1
    known = all(pair is None or set(pair) <= set(clusters) for pair in row)
    if known and 2 + width * (len(clusters) + 1) <= COLUMNS:
        yield from _grid(row, clusters, width)
    else:
        yield from _by_verdict(row)


def _grid(row: Row, clusters: tuple[str, ...], width: int) -> Iterator[Line]:
    yield line("  " + "".join(text.ljust(width) for text in ("from \\ to", *clusters)).rstrip(), "strong")
    for near in clusters:
        cells = [Piece(" " * width) if near == far else _cell(row.get((near, far)), width) for far in clusters]
        yield (Piece("  " + near.ljust(width)), *cells)


def _by_verdict(row: Row) -> Iterator[Line]:
    pairs = {pair: verdict for pair, verdict in row.items() if pair}
    counts = Counter(pairs.values())
    commonest = counts.most_common(1)[0][0] if counts else None
    for verdict, count in sorted(counts.items(), key=lambda item: item[1]):
        named = ", ".join(f"{near}>{far}" for (near, far), each in pairs.items() if each is verdict)
        text = f"the other {count} pairs" if verdict is commonest else named
        yield from paragraph(text, f"  {MARKS[verdict]} ".ljust(14), style=STYLES[verdict])


def _cell(verdict: Verdict | None, width: int) -> Piece:
    if verdict is None:
        return Piece(" " * width)
    return Piece(MARKS[verdict].ljust(width), STYLES[verdict])
