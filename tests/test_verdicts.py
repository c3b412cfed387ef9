"""What a run's verdicts come to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshproof.fixtures.verdicts import Verdict, exit_code, is_red

PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("verdicts", "unfit", "pytest_exit", "code"),
    [
        ([PASSED], False, 0, 0),
        ([Verdict.OBSERVED], False, 0, 0),
        ([PASSED, UNKNOWN, FAILED], True, 2, 1),
        ([PASSED, UNKNOWN], True, 2, 11),
        ([PASSED], True, 2, 10),
        ([], True, 0, 10),
        ([PASSED], False, 2, 2),
        ([PASSED], False, 3, 3),
        ([PASSED], False, 1, 11),
        ([], False, 0, 5),
        ([], False, 5, 5),
        ([Verdict.UNSUPPORTED, Verdict.NOT_BUILT, Verdict.EXCLUDED], False, 0, 5),
        ([PASSED, Verdict.UNSUPPORTED], False, 0, 0),
    ],
)
def test_precedence(verdicts: Sequence[Verdict], unfit: bool, pytest_exit: int, code: int) -> None:
    """failed > unknown > unfit > pytest's own > nothing ran > green."""
    assert exit_code(verdicts, [], [], unfit=unfit, pytest_exit=pytest_exit) == code


@pytest.mark.parametrize(
    ("planned", "reported", "code"),
    [("ab", "ba", 0), ("ab", "a", 11), ("a", "ab", 11), ("ab", "aa", 11), ("ab", "abb", 11)],
)
def test_every_planned_case_is_reported_once(planned: str, reported: str, code: int) -> None:
    """A case lost, invented or told twice makes a green run 11, and a failed one stays failed."""
    assert exit_code([PASSED], list(planned), list(reported)) == code
    assert exit_code([FAILED], list(planned), list(reported)) == 1


def test_strict_mode_minds_what_was_not_tested() -> None:
    """unsupported and not-built are red only in strict mode; excluded never is."""
    red = {strict: {verdict for verdict in Verdict if is_red(verdict, strict)} for strict in (False, True)}
    assert red[False] == {FAILED, UNKNOWN}
    assert red[True] == {FAILED, UNKNOWN, Verdict.UNSUPPORTED, Verdict.NOT_BUILT}
    assert exit_code([PASSED, Verdict.NOT_BUILT], [], [], strict=True) == 11
