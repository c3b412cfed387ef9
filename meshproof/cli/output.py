"""What verbs print: progress for people on stderr, results on stdout, as text or as pure JSON."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 110


def add_output_option(own: argparse.ArgumentParser) -> None:
    """-o text|json."""
    own.add_argument("-o", "--output", choices=("text", "json"), default="text", help="text (default), or pure JSON")


def tell(line: str) -> None:
    """One line of progress; nobody who reads our result sees it."""
    print(line, file=sys.stderr, flush=True)


def print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the last one runs free."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def print_labelled(lines: Iterable[tuple[str, str]]) -> None:
    """Pairs of a label and a text, the texts wrapped beside their labels; a label is not said twice in a row."""
    before = ""
    for label, text in lines:
        shown = "" if label == before else label
        before = label
        head = f"  {shown:<10}"
        wrapped = textwrap.wrap(text, WIDTH - len(head), break_long_words=False, break_on_hyphens=False) or [""]
        for number, part in enumerate(wrapped):
            print(f"{head if number == 0 else ' ' * len(head)}{part}".rstrip())
