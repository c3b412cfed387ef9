"""Lines of text for a terminal: pieces with a style, so that the plain and the coloured page are the same words.

Only ASCII symbols; colour repeats what a word already says. Control characters that came from elsewhere are spelled
out, not sent.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

COLUMNS = 100

Style = Literal["", "good", "bad", "dim", "strong"]

MARKUP: Mapping[Style, Mapping[str, bool]] = {
    "": {},
    "good": {"green": True},
    "bad": {"red": True, "bold": True},
    "dim": {"light": True},
    "strong": {"bold": True},
}
"""For pytest's terminal writer, which drops them where colour is not wanted."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    style: Style = ""


Line = tuple[Piece, ...]


def line(text: str = "", style: Style = "") -> Line:
    return (Piece(text, style),)


def plain(shown: Line) -> str:
    """The words of a line, without trailing space."""
    return "".join(piece.text for piece in shown).rstrip()


def printable(text: str, encoding: str = "utf-8") -> str:
    """One line's text with control characters spelled out and whatever the encoding lacks replaced."""
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\t", "    "))
    return text.encode(encoding, "replace").decode(encoding)


def paragraph(text: str, indent: str = "", hang: str | None = None, style: Style = "") -> Iterator[Line]:
    """Wrapped to COLUMNS, line breaks kept; words longer than a line (paths, commands) stay whole.

    `indent` opens the first line, `hang` all others (blanks as wide as `indent` when None).
    """
    hang = " " * len(indent) if hang is None else hang
    first = indent
    for source in text.split("\n"):
        # Escaping makes a line longer, so it comes before wrapping.
        inner = re.match(r" *", source)
        deeper = hang + (inner[0] if inner else "")
        for wrapped in textwrap.wrap(
            printable(source),
            width=COLUMNS,
            initial_indent=first if first != hang else deeper,
            subsequent_indent=deeper,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [first.rstrip()]:
            yield line(wrapped, style)
        first = hang
