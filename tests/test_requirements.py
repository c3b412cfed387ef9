"""The catalogue is complete and well formed, and what is tested is read from the cases themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.requirements import Need, built_ids, cases_in, catalogue, need_of, requirement

LAST = {
    "DISC": 19, "LB": 14, "FO": 20, "POL": 20, "LIM": 14, "OBS": 8, "SEC": 7, "CFG": 8, "PERF": 2, "MCS": 11,
}  # fmt: skip


def test_the_catalogue_has_every_id_once() -> None:
    """Ids are permanent: every area counts from 01 to its last number without a hole."""
    assert list(catalogue()) == [f"{area}-{number:02}" for area, last in LAST.items() for number in range(1, last + 1)]


@pytest.mark.parametrize("id", catalogue())
def test_a_promise_is_told_in_one_line(id: str) -> None:
    """Every promise has a title that fits a table, an area in words, and a known basis."""
    promise = catalogue()[id]
    assert 10 < len(promise.title) <= 90
    assert re.match(r"[A-Z].*[^.]$", promise.title)
    assert promise.area[0].isupper()
    assert promise.basis in {"documented", "upstream", "regression", "proposed"}


def test_a_mark_carries_what_the_case_needs() -> None:
    """`@requirement` leaves the function alone and puts id, features and whether it mutates on it."""

    def case() -> None: ...

    marked = requirement("DISC-04", needs={Feature.SHARED}, mutates=True)(case)
    assert marked is case
    assert need_of(vars(case)["pytestmark"]) == Need("DISC-04", frozenset({Feature.SHARED}), mutates=True)


def test_other_peoples_marks_are_no_requirement() -> None:
    """A mark of another name, or of ours with other content, makes no case."""
    marks = [pytest.mark.fleet("DISC-01").mark, pytest.mark.meshproof_requirement("DISC-01").mark]
    assert need_of(marks) is None


def test_what_is_tested_is_read_without_importing(tmp_path: Path) -> None:
    """The scan finds decorated functions in test modules, and runs none of their code."""
    (tmp_path / "test_one.py").write_text(
        "raise SystemExit\n@requirement('LB-04')\ndef test_it(): ...\ndef test_other(): ...\n"
    )
    (tmp_path / "notes.py").write_text("@requirement('LB-05')\ndef test_it(): ...\n")
    assert cases_in(tmp_path) == {"LB-04": ("test_one.py",)}


def test_every_case_of_the_suites_tests_a_known_promise() -> None:
    """What the suites test is in the catalogue, and the first discovery cases are among it."""
    assert built_ids() <= set(catalogue())
    assert built_ids() >= {"DISC-01", "DISC-04"}
