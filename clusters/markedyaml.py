"""YAML in which every value knows its line, for error messages that point.

A deliberately small YAML: one document, no aliases, no tags, no duplicate keys, plain
decimal numbers, text on one line, at most 64 KiB and eight levels deep. What a person
might write by accident and YAML would silently turn into something else (`no`, `010`,
`1:30`) is refused here or arrives with the spelling it had.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Route = tuple[str | int, ...]
"""How to get to a value from the top: ("clusters", 1, "id")."""

SIZE_BYTES_MAX = 64 * 1024
DEPTH_MAX = 8
_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a file, in one sentence; line and column count from 1, 0 is the file as a whole."""

    line: int
    column: int
    sentence: str


class UnreadableError(Exception):
    """The file is not the small YAML that this module reads; `problems` says why, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(p.sentence for p in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Marked:
    """A document: plain data (dict, list, str, int, bool, None), and where each part of it stands."""

    data: Any
    values: dict[Route, tuple[int, int]] = field(default_factory=dict)
    """(line, column) of each value."""
    keys: dict[Route, tuple[int, int]] = field(default_factory=dict)
    """(line, column) of the key that leads to each value of a mapping."""
    spelling: dict[Route, str] = field(default_factory=dict)
    """Each scalar as the file spells it, without quotes."""

    def at(self, route: Route) -> Any:
        """The value at the end of this route, which must be there."""
        value = self.data
        for step in route:
            value = value[step]
        return value

    def line(self, route: Route) -> int:
        return (self.keys.get(route) or self.values[route])[0]

    def problem(self, route: Route, sentence: str) -> Problem:
        """A problem at the key of this value, or at the value itself where it has none."""
        return Problem(*(self.keys.get(route) or self.values[route]), sentence)


def spell(route: Route) -> str:
    """("clusters", 1, "id") as a person writes it: clusters[1].id."""
    text = ""
    for step in route:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the top level"


def read(path: Path) -> Marked:
    """The file's data and positions. Raises `UnreadableError`; nothing else, whatever the bytes."""
    text = _text(path)
    try:
        _refuse_excess(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise UnreadableError([Problem(line, column, f"this is not YAML: {error.problem or error.context}")]) from None
    except yaml.reader.ReaderError as error:
        line, character = text.count("\n", 0, error.position) + 1, ord(text[error.position])
        raise UnreadableError([Problem(line, 0, f"character U+{character:04X} is not allowed in YAML")]) from None
    if node is None:
        raise UnreadableError([Problem(0, 0, "the file is empty")])
    marked, problems = Marked({}), list[Problem]()
    data = _value(node, (), marked, problems)
    if problems:
        raise UnreadableError(sorted(problems))
    return Marked(data, marked.values, marked.keys, marked.spelling)


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise UnreadableError([Problem(0, 0, "this is a directory, not a file")])
        if path.exists() and not path.is_file():
            raise UnreadableError([Problem(0, 0, "this is not a regular file")])
        with path.open("rb") as file:
            raw = file.read(SIZE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableError([Problem(0, 0, f"cannot read it: {reason}")]) from None
    if len(raw) > SIZE_BYTES_MAX:
        raise UnreadableError([Problem(0, 0, f"the file is larger than {SIZE_BYTES_MAX // 1024} KiB")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableError([Problem(line, 0, f"byte 0x{raw[error.start]:02x} is not UTF-8")]) from None


def _refuse_excess(text: str) -> None:
    """Refuse, before anything recurses or expands, what a small file has no use for."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        assert event.start_mark is not None
        where = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            raise UnreadableError([Problem(*where, f"*{event.anchor} is a YAML alias; write the value out")])
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise UnreadableError([Problem(*where, "a second document starts here; keep one per file")])
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            raise UnreadableError([Problem(*where, f"nested more than {DEPTH_MAX} levels deep")])


def _value(node: yaml.Node, route: Route, marked: Marked, problems: list[Problem]) -> Any:
    where = (node.start_mark.line + 1, node.start_mark.column + 1)
    marked.values[route] = where
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, route, marked, problems)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_value(item, (*route, i), marked, problems) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode) and kind in {"str", "int", "bool", "null", "float", "timestamp"}:
        marked.spelling[route] = node.value
        if kind == "str":
            if not node.value.isprintable():
                problems.append(Problem(*where, f"{spell(route)} has a line break or control character in it"))
            return node.value
        if kind == "bool":
            return node.value.lower() in {"yes", "true", "on"}
        if kind == "null":
            return None
        if kind == "int" and _DECIMAL.fullmatch(node.value):
            return int(node.value)
        problems.append(
            Problem(*where, f"{spell(route)} is {node.value}; write a plain whole number, or text in quotes")
        )
        return None
    problems.append(Problem(*where, f"{spell(route)} has the YAML tag {node.tag}; leave tags out"))
    return None


def _mapping(node: yaml.MappingNode, route: Route, marked: Marked, problems: list[Problem]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in node.value:
        where = (key.start_mark.line + 1, key.start_mark.column + 1)
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
            named = f"{key.value!r}" if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            problems.append(Problem(*where, f"{named} cannot be a key in {spell(route)}; keys are plain words"))
            continue
        inner = (*route, key.value)
        if key.value in result:
            first = marked.keys[inner][0]
            problems.append(Problem(*where, f"{spell(inner)} is given twice (first on line {first}); keep one"))
            continue
        marked.keys[inner] = where
        result[key.value] = _value(value, inner, marked, problems)
    return result
