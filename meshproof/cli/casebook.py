"""What the case of a requirement expects, read from its source: names and roles of its expectations, in order.

Nothing is imported or run. Followed are functions of the same module that the case calls, and names that are set to a
text in the function or the module. Limits: a name put together elsewhere is not found, one with a variable part shows
that part in braces.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from meshproof.fixtures.requirements import SUITES

_OBSERVING = ("observe", "tally")
_NAME_OF_QUESTION = 2
"""Its place among the arguments of `together.Question`."""
_ROLES = {"CONTROL": "control", "OBSERVED": "observed", "CLAIM": "claim"}


@dataclass(frozen=True, slots=True)
class Expected:
    """One expectation; `role` is claim, control or observed."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Case:
    """One test function. `module` is its path from the root of the suites, such as conformance/test_discovery.py."""

    requirement: str
    module: str
    line: int
    truth: str
    """Its docstring."""
    expectations: tuple[Expected, ...]
    bounds: tuple[str, ...]
    """Keys of a profile that it reads."""


def cases_of(requirement: str) -> tuple[Case, ...]:
    """The cases of one requirement in the suites that come with meshproof."""
    return tuple(case for case in _all() if case.requirement == requirement)


@cache
def _all() -> tuple[Case, ...]:
    root = Path(__file__).parents[1]
    return tuple(
        case
        for suite in SUITES
        for module in sorted((root / suite).rglob("test_*.py"))
        for case in read(module.read_text(encoding="utf-8"), str(module.relative_to(root)))
    )


def read(source: str, module: str) -> Iterator[Case]:
    """Every case of a module's source."""
    tree = ast.parse(source, module)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for function in functions.values():
        for decorator in function.decorator_list:
            match decorator:
                case ast.Call(func=ast.Name(id="requirement"), args=[ast.Constant(value=str(id)), *_]):
                    found = dict.fromkeys(_expected(function, functions, _texts(tree), {function.name}))
                    truth, bounds = ast.get_docstring(function) or "", dict.fromkeys(_bounds(function, functions))
                    yield Case(id, module, function.lineno, truth, tuple(found), tuple(bounds))


def _expected(
    function: ast.FunctionDef, functions: Mapping[str, ast.FunctionDef], texts: Mapping[str, str], met: set[str]
) -> Iterator[Expected]:
    texts = {**texts, **_texts(function)}
    for call in sorted(_calls(function), key=lambda node: (node.lineno, node.col_offset)):
        called = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if called == "Question" and len(call.args) > _NAME_OF_QUESTION:
            given["name"] = call.args[_NAME_OF_QUESTION]
        if (name := _text(given.get("name"), texts)) is not None:
            role = _ROLES.get(ast.unparse(given["role"]).split(".")[-1], "claim") if "role" in given else "claim"
            yield Expected(name, "observed" if called in _OBSERVING else role)
        elif called in functions and called not in met:
            yield from _expected(functions[called], functions, texts, met | {called})


def _bounds(function: ast.FunctionDef, functions: Mapping[str, ast.FunctionDef]) -> Iterator[str]:
    """What is read of anything called bounds, here and in the functions of the module that are called here."""
    called = {ast.unparse(call.func) for call in _calls(function)}
    for scope in (function, *(functions[name] for name in functions if name in called)):
        for node in ast.walk(scope):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == "bounds":
                yield node.attr


def _calls(function: ast.FunctionDef) -> Iterator[ast.Call]:
    return (node for statement in function.body for node in ast.walk(statement) if isinstance(node, ast.Call))


def _texts(scope: ast.Module | ast.FunctionDef) -> dict[str, str]:
    """Names that are set to a text right in this scope."""
    found: dict[str, str] = {}
    for node in scope.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=False))
            for one, its in pairs:
                if isinstance(one, ast.Name) and (text := _text(its, found)) is not None:
                    found[one.id] = text
    return found


def _text(node: ast.expr | None, texts: Mapping[str, str]) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_part(part, texts) for part in parts)
        case ast.Name(id=name):
            return texts.get(name)
    return None


def _part(part: ast.expr, texts: Mapping[str, str]) -> str:
    """A piece of an f-string; what is not known before it runs stands in braces."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    known = _text(value, texts) if isinstance(value, ast.Name) else None
    return f"{{{ast.unparse(value)}}}" if known is None else known
