"""Other programs, run with a deadline: what went wrong is quoted, with the line to repeat it by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproof.clusters.kind.command import CommandFailed, by_hand, run, succeeds

LONG_SECONDS = 30.0


def test_output_comes_back_and_input_goes_in(tmp_path: Path) -> None:
    """On stdout, or in a file."""
    assert run(["cat"], seconds_max=LONG_SECONDS, stdin=b"said") == "said"
    assert run(["echo", "kept"], seconds_max=LONG_SECONDS, into=tmp_path / "file") == ""
    assert (tmp_path / "file").read_text() == "kept\n"


@pytest.mark.parametrize(
    ("arguments", "seconds_max", "reason"),
    [
        (["sh", "-c", "echo why >&2; exit 3"], LONG_SECONDS, "ended with status 3"),
        (["no-such-program"], LONG_SECONDS, "cannot be run"),
        (["sleep", "600"], 0.1, "did not end within"),
    ],
)
def test_a_failure_says_how_and_how_to_have_it_again(arguments: list[str], seconds_max: float, reason: str) -> None:
    """A bad status, a missing program and a deadline are told apart."""
    with pytest.raises(CommandFailed, match=reason) as caught:
        run(arguments, seconds_max=seconds_max)
    assert f"by hand: {by_hand(arguments)}" in str(caught.value)
    assert not succeeds(arguments, seconds_max=seconds_max)


def test_the_line_to_repeat_has_the_environment_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what differs from the person's own."""
    monkeypatch.setenv("SAME", "1")
    assert by_hand(["docker", "ps"], {"SAME": "1", "DOCKER_HOST": "unix:///x y"}) == (
        "env 'DOCKER_HOST=unix:///x y' docker ps"
    )
