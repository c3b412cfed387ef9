"""A run that is held back begins at a word, on the ground as it is then, and ends with whoever held it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from meshproof.fixtures import session
from tests.paper_suite import CONFTEST, PREAMBLE
from tests.test_plugin import cases, left_by, suite

pytest_plugins = ["pytester"]
__all__ = ["suite"]

AT_THE_WORD = """
@requirement("DISC-01")
def test_holds(pair, ask):
    assert os.path.exists("said")
    claim(ask(pair.far.name), pair.far.name)
"""
CHANGING = CONFTEST.replace('if "broken" in names', 'if os.path.exists("said") is BAD').replace(
    "import pytest", "import os\nimport pytest"
)


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Of a pipe: to read, and to write."""
    pair = os.pipe()
    yield pair
    for end in pair:
        with suppress(OSError):
            os.close(end)


def run(suite: pytest.Pytester, ends: tuple[int, int], *, conftest: str = CONFTEST) -> pytest.RunResult:
    """With a word that comes after a while."""
    suite.makeconftest(conftest)
    suite.makepyfile(test_paper=PREAMBLE + AT_THE_WORD)

    def say() -> None:
        (suite.path / "said").touch()
        os.write(ends[1], b".")

    timer = threading.Timer(0.3, say)
    timer.start()
    result = suite.runpytest("--fleet", "east-west", "--seed", "7", "--hold", str(ends[0]))
    timer.join()
    return result


def test_no_case_begins_before_the_word(suite: pytest.Pytester, ends: tuple[int, int]) -> None:
    """Both find that it has been said."""
    assert run(suite, ends).ret == 0
    assert len(cases(left_by(suite))) == 2


@pytest.mark.parametrize(("bad", "code"), [("False", 0), ("True", 11)], ids=["before the word", "after it"])
def test_the_ground_at_the_word_counts(suite: pytest.Pytester, ends: tuple[int, int], bad: str, code: int) -> None:
    """A defect that is another run's does not matter while this one is held; one that is on then does."""
    assert run(suite, ends, conftest=CHANGING.replace("BAD", bad)).ret == code


def test_it_ends_with_whoever_held_it(
    suite: pytest.Pytester, ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is gone without a word: nothing was tried, and what was put up is looked for and taken down."""
    tidied: list[str] = []

    def tidy(clusters: object, run_id: str, removals: object) -> list[str]:
        tidied.append(run_id)
        return []

    monkeypatch.setattr(session, "remove_remains", tidy)
    suite.makeconftest(CONFTEST)
    suite.makepyfile(test_paper=PREAMBLE + AT_THE_WORD)
    os.close(ends[1])
    assert suite.runpytest("--fleet", "east-west", "--hold", str(ends[0])).ret == 11
    assert not any(case.verdict.value in ("passed", "failed") for case in left_by(suite).cases)
    assert len(tidied) == 1


def test_workers_cannot_be_held(suite: pytest.Pytester, ends: tuple[int, int]) -> None:
    """The open file is this process's."""
    suite.makeconftest(CONFTEST)
    suite.makepyfile(test_paper=PREAMBLE + AT_THE_WORD)
    result = suite.runpytest_subprocess("--fleet", "east-west", "--hold", "0", "-n", "2")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*leave out -n*"])
