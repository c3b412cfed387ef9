"""Where files go, by environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproof.clusters.places import cache_directory, fleet_directory, state_directory


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MESHPROOF_STATE", "MESHPROOF_CACHE", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_variables_both_places_are_below_home(tmp_path: Path) -> None:
    """With nothing set, state and cache lie at the XDG defaults below the home directory."""
    assert state_directory() == tmp_path / ".local/state/meshproof"
    assert cache_directory() == tmp_path / ".cache/meshproof"


def test_xdg_variables_move_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute XDG directories are used, with our own name below them."""
    monkeypatch.setenv("XDG_STATE_HOME", "/some/state")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert state_directory() == Path("/some/state/meshproof")
    assert cache_directory() == Path("/some/cache/meshproof")


@pytest.mark.parametrize("useless", ["", "relative/path"])
def test_an_empty_or_relative_xdg_directory_is_ignored(
    useless: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The XDG rules say that an empty or relative directory counts as unset."""
    monkeypatch.setenv("XDG_STATE_HOME", useless)
    assert state_directory() == tmp_path / ".local/state/meshproof"


def test_our_own_variables_win_and_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MESHPROOF_STATE and MESHPROOF_CACHE are the directory itself, and outlive a change of directory."""
    monkeypatch.setenv("XDG_STATE_HOME", "/some/state")
    monkeypatch.setenv("MESHPROOF_STATE", "/mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHPROOF_CACHE", "here")
    assert state_directory() == Path("/mine")
    assert cache_directory() == tmp_path / "here"


def test_naming_a_place_creates_nothing(tmp_path: Path) -> None:
    """Asking where a fleet would be leaves the disk as it was."""
    assert fleet_directory("two") == tmp_path / ".local/state/meshproof/fleets/two"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "Two", "-two", "two-", "x" * 41])
def test_a_name_that_is_no_short_dns_label_is_refused(name: str) -> None:
    """A fleet name becomes a path component, so nothing but a short DNS label is taken."""
    with pytest.raises(ValueError, match="is no fleet name"):
        fleet_directory(name)
