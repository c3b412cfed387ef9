"""A profile is read whole or not at all."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from meshproof.clusters.fleet import Dialect, EnvironmentUnfit
from meshproof.fixtures.profiles import Bounds, load_profile, profile_names, read_profile
from meshproof.fixtures.statistics import probes_needed

GOOD = (Path(__file__).parents[1] / "fixtures" / "profiles" / "cilium.yaml").read_text(encoding="utf-8")
NAMES = {bound.name for bound in fields(Bounds)}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cilium.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_gives_a_ground_for_each_value(name: str) -> None:
    """Each bound, each mesh's own and in_a_row has a basis and a sentence."""
    profile = load_profile(name)
    own = {key for key in profile.grounds if "/" in key}
    assert set(profile.grounds) - own == NAMES | {"in_a_row"}
    assert own <= {f"{mesh}/{bound}" for mesh in profile.meshes for bound in NAMES}
    assert all(len(ground.source) > 20 for ground in profile.grounds.values())


@pytest.mark.parametrize("name", profile_names())
def test_the_reference_mesh_has_bounds_of_its_own(name: str) -> None:
    """What is documented for another mesh says nothing of this one; what it has no own bound for is as for all."""
    profile = load_profile(name)
    own = profile.bounds_for("reference")
    assert own.service_seconds_max < profile.bounds.service_seconds_max
    assert profile.bounds_for("cilium") == profile.bounds
    assert profile.bounds_for("cilium") is profile.bounds


def test_cilium_is_what_the_suite_is_written_against() -> None:
    """The default profile speaks the current dialect and asks enough probes to miss a half share by no chance."""
    profile = load_profile("cilium")
    assert profile.dialect is Dialect.CILIUM
    assert profile.dialects == (Dialect.CILIUM, Dialect.LEGACY)
    assert profile.bounds.service_seconds_max == 10
    assert profile.in_a_row == probes_needed(1 / 2)


def test_each_profile_speaks_its_documents_words() -> None:
    """The news article knows one annotation; the Fleet pages cite the older words first."""
    assert load_profile("news").dialects == (Dialect.FLEET,)
    assert load_profile("aks-fleet").dialects == (Dialect.LEGACY, Dialect.CILIUM)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("watch_seconds:", "wach_seconds:", "wach_seconds"),
        ("name: cilium", "name: other", "other"),
        ("name: cilium", "name: cilium\nextra: 1", "extra"),
        ("name: cilium", "name: cilium\nname: cilium", "twice"),
        ("value: 10", "value: 0", "more than 0"),
        ("value: 10", "value: .inf", "more than 0"),
        ("value: 10", "value: .nan", "more than 0"),
        ("value: 10", "value: true", "more than 0"),
        ("value: 20", "value: 20.5", "whole"),
        ("basis: assumed", "basis: guessed", "guessed"),
        ("[service.cilium.io, io.cilium]", "[cilium]", "cilium"),
        ("[service.cilium.io, io.cilium]", "[]", "dialects"),
        ("[service.cilium.io, io.cilium]", "[io.cilium, io.cilium]", "dialects"),
        ("  reference:", "  reference:\n    patience: {value: 1, basis: assumed, source: x}", "patience"),
        ("name: cilium", "name: [", "cilium.yaml"),
    ],
)
def test_a_bent_profile_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Unknown, missing, doubled and senseless values are refused, and the message says which."""
    assert old in GOOD
    with pytest.raises(EnvironmentUnfit, match=says):
        read_profile(written(tmp_path, GOOD.replace(old, new, 1)))


def test_an_unknown_profile_is_refused() -> None:
    """The message lists those there are; a path is not a name."""
    with pytest.raises(EnvironmentUnfit, match="cilium"):
        load_profile("../profiles/cilium")
