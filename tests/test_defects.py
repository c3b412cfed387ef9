"""The defects as a set: each changes what its requirement promises, and leaves alone what it says stays green.

Every requirement is played on paper (`paper_cases`): what its case would perceive is compared with and without the
defect. What a live case decides on top of that is for `meshproof prove`.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meshproof.clusters.meshes.reference import defects
from meshproof.clusters.meshes.reference.defects import Defect, every
from meshproof.fixtures.requirements import catalogue
from tests.paper_cases import CASES, THREE
from tests.paper_fleet import Paper

CONFORMANCE = Path(__file__).parent.parent / "conformance"
SMOKE = "DISC-01"
UNSUPPORTED = {"DISC-15", "DISC-16", "LB-14"}
WITHOUT_A_CLAIM = {"LB-12"}
SECONDS_A_STEP = 0.5
DEFECTS = {defect.name: defect for defect in every()}


class Clock:
    """Pretended time: reading it takes half a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += SECONDS_A_STEP
        return self.now


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", Clock().monotonic)


def seen(requirement: str, defect: Defect | None) -> Any:
    """What the case of this requirement perceives."""
    clusters = ("east", "west", "north") if requirement in THREE else ("east", "west")
    return CASES[requirement](Paper(defect, *clusters))


@functools.cache
def healthy(requirement: str) -> Any:
    """The same without a defect."""
    return seen(requirement, None)


def in_area(requirement: str) -> set[str]:
    """What the reference mesh is held to in the same area."""
    return {id for id in catalogue() if id.split("-")[0] == requirement.split("-")[0]} - UNSUPPORTED


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_breaks_what_its_requirement_promises(name: str) -> None:
    """On paper the case of the requirement perceives another thing with the defect than without it."""
    requirement = DEFECTS[name].requirement
    assert seen(requirement, DEFECTS[name]) != healthy(requirement)


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_leaves_alone_what_it_says_stays_green(name: str) -> None:
    """On paper the cases that must stay green perceive the same with the defect as without it."""
    for requirement in DEFECTS[name].stays_green:
        assert seen(requirement, DEFECTS[name]) == healthy(requirement), requirement


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_says_what_it_is(name: str) -> None:
    """It is named as its file, models something, and aims at a requirement of the catalogue by an expectation."""
    defect = DEFECTS[name]
    module = inspect.getmodule(defect.wrap)
    assert module is not None
    assert module.__name__ == f"{defects.__name__}.{name}"
    assert re.match(r"([ABCM]\d+|M\d+)\b", defect.models)
    assert defect.requirement in in_area("DISC-01") | in_area("LB-01")
    assert defect.expectation.strip()
    assert defect.requirement not in defect.stays_green
    assert len(set(defect.stays_green)) == len(defect.stays_green)
    assert set(defect.stays_green) <= set(catalogue()) - UNSUPPORTED


@pytest.mark.parametrize("name", DEFECTS)
def test_most_of_its_area_stays_green_beside_a_defect(name: str) -> None:
    """The smoke stays green unless it is the target, and so does half of the target's area at least."""
    defect = DEFECTS[name]
    green = {SMOKE, *defect.stays_green}
    assert SMOKE in defect.stays_green or defect.requirement == SMOKE or name in SPARES_NO_SMOKE
    assert len(set(defect.stays_green) & in_area(defect.requirement)) * 2 >= len(in_area(defect.requirement)), green


SPARES_NO_SMOKE: dict[str, str] = {}
"""A defect that cannot spare the smoke, and why."""


def test_every_requirement_can_fail() -> None:
    """Each DISC and LB requirement that the reference mesh is held to has a defect that turns it red."""
    held = (in_area("DISC-01") | in_area("LB-01")) - WITHOUT_A_CLAIM
    assert held - {defect.requirement for defect in every()} == set()
    assert set(CASES) == held | WITHOUT_A_CLAIM


def test_there_are_enough_of_them_and_each_models_another_bug() -> None:
    """Twenty at least, and no two cite the same."""
    models = [defect.models for defect in every()]
    assert len(models) >= 20
    assert sorted(set(models)) == sorted(models)


def test_no_two_defects_share_an_implementation() -> None:
    """The functions of two defects differ in what they do, not only in their names."""
    does = {name: _anonymous(inspect.getmodule(defect.wrap) or defects) for name, defect in DEFECTS.items()}
    assert [pair for pair in itertools.combinations(does, 2) if does[pair[0]] == does[pair[1]]] == []


def _anonymous(module: ModuleType) -> str:
    """The functions of a module, without the names that their author gave to variables and inner functions."""
    functions = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.FunctionDef)]
    return "".join(re.sub(r"(id|name|arg)='[a-z_]+'", "", ast.dump(function)) for function in functions)


def test_no_defect_borrows_from_another() -> None:
    """A defect imports the mesh, never another defect."""
    for name, defect in DEFECTS.items():
        source = inspect.getsource(inspect.getmodule(defect.wrap) or defects)
        assert re.findall(r"reference\.defects(\.\w+)", source) == [], name


@pytest.mark.parametrize("name", DEFECTS)
def test_the_case_claims_the_expectation_that_the_defect_names(name: str) -> None:
    """The conformance module of the requirement has a string for it; brackets at its end may have been added."""
    defect = DEFECTS[name]
    told = {text for module in _modules_of(defect.requirement) for text in _texts(module)}
    bare = re.sub(r" \(.*\)$", "", defect.expectation)
    assert told & {defect.expectation, bare, f"{bare}…", f"{bare} (…)"}, sorted(told)


def _modules_of(requirement: str) -> Iterator[ast.Module]:
    for path in sorted(CONFORMANCE.glob("test_*.py")):
        if f'"{requirement}"' in (source := path.read_text()):
            yield ast.parse(source)


def _texts(tree: ast.Module) -> Iterator[str]:
    """Every string; of an f-string its text, with … for what is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
