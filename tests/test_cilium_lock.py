"""The lock and what is made of it: releases, references of images, and charts that are or are not in it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from meshproof.clusters.datafiles import DataDamaged
from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.clusters.meshes.cilium import charts
from meshproof.clusters.meshes.cilium.lock import LOCK, lock
from meshproof.clusters.meshes.cilium.placement import pairs, place

KNOWN = lock()
RELEASE = KNOWN.default


def chart(place: Path, version: str = RELEASE.version, name: str = "cilium") -> Path:
    place.mkdir(parents=True)
    (place / "Chart.yaml").write_text(f"name: {name}\nversion: {version}\n")
    return place


def packed(place: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(place, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return place


def test_three_lines_are_locked_and_the_newest_is_the_default() -> None:
    """Each release has the same images, at the same places of its chart's values, each with a digest."""
    assert [release.line for release in KNOWN.releases] == [(1, 18), (1, 19), (1, 20)]
    assert KNOWN.releases[-1] == RELEASE
    for release in KNOWN.releases:
        assert [image.name for image in release.images] == ["cilium", "operator", "clustermesh-apiserver", "envoy"]
        assert [image.value for image in release.images] == [
            *("image", "operator.image", "clustermesh.apiserver.image", "envoy.image")
        ]
        assert {image.tag for image in release.images if image.name != "envoy"} == {f"v{release.version}"}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("name: cilium\n", "name: cilium\n        size: 1\n", "Additional properties"),
        ("digest: sha256:", "digest: sha512:", "does not match"),
        ('default: "1.20.0"', 'default: "1.21.0"', "the default 1.21.0 is none of its releases"),
        ("name: operator", "name: cilium", "an image is given twice"),
        ("value: operator.image", "value: image", "an image is given twice"),
        ('version: "1.19.6"', 'version: "1.18.6"', "one for each line, oldest first"),
    ],
)
def test_a_lock_that_is_not_in_order_is_refused(before: str, after: str, says: str, tmp_path: Path) -> None:
    """Unknown keys, malformed digests, twins and a default nobody has."""
    text = LOCK.read_text()
    assert before in text
    (tmp_path / "lock.yaml").write_text(text.replace(before, after, 1))
    with pytest.raises(DataDamaged, match=says):
        lock(tmp_path / "lock.yaml")


@pytest.mark.parametrize("said", ["1.20.0", "v1.20.0", "1.20"])
def test_a_release_is_known_by_version_or_line(said: str) -> None:
    """All three mean the same release."""
    assert KNOWN.release(said) == RELEASE


@pytest.mark.parametrize("said", ["1.17", "1.20.1", "1.2", "", "latest"])
def test_any_other_release_is_refused_with_those_there_are(said: str) -> None:
    """Nobody has looked at what its chart makes of our values."""
    with pytest.raises(EnvironmentUnfit, match=r"is not in meshproof's lock, .* use 1\.18\.12, 1\.19\.6, 1\.20\.0"):
        KNOWN.release(said)


def test_images_come_from_where_they_are_said_to_be() -> None:
    """A mirror keeps tags and digests, an override wins and stands as given, by_tag leaves digests out."""
    cilium, operator, *_ = RELEASE.images
    assert [placed.reference for placed in place(RELEASE)] == [image.pinned for image in RELEASE.images]
    mirrored = place(RELEASE, mirror="registry.example:5000/m/", overrides={"cilium": "registry.example/mine:2"})
    assert mirrored[0].reference == "registry.example/mine:2"
    assert mirrored[1].reference == f"registry.example:5000/m/operator-generic:{operator.tag}@{operator.digest}"
    assert place(RELEASE, by_tag=True)[0].reference == cilium.tagged
    assert [placed.moved for placed in mirrored] == [True] * 4
    assert not any(placed.moved for placed in place(RELEASE))


@pytest.mark.parametrize(
    ("mirror", "overrides", "says"),
    [
        ("", {"etcd": "x/y:1"}, "has no image 'etcd'; it has cilium, operator"),
        ("https://registry.example/m", {}, "'https://registry.example/m' is no image reference"),
        ("", {"envoy": "a b"}, "'a b' is no image reference"),
        ("", {"envoy": "x/y@sha256:12"}, "is no image reference"),
    ],
)
def test_what_names_no_image_is_refused(mirror: str, overrides: dict[str, str], says: str) -> None:
    """Unknown names, schemes and half digests."""
    with pytest.raises(EnvironmentUnfit) as refused:
        place(RELEASE, mirror=mirror, overrides=overrides)
    assert says in str(refused.value)


@pytest.mark.parametrize("word", ["envoy", "=x", "envoy="])
def test_a_pair_has_two_sides(word: str) -> None:
    """NAME=VALUE, and each name once."""
    with pytest.raises(EnvironmentUnfit, match="has no NAME=VALUE form"):
        pairs([word], "--override")
    with pytest.raises(EnvironmentUnfit, match="--override a is given twice"):
        pairs(["a=1", "a=2"], "--override")


def test_a_chart_says_its_own_version(tmp_path: Path) -> None:
    """A directory and a .tgz are read alike; without either, helm finds the chart by name."""
    directory = chart(tmp_path / "cilium", "1.19.6")
    tgz = packed(
        tmp_path / "c.tgz", {"cilium/Chart.yaml": b"name: cilium\nversion: 1.19.6\n", "cilium/values.yaml": b"a: 1\n"}
    )
    for path in (directory, tgz):
        found = charts.find(KNOWN, path)
        assert (found.release.version, found.words()) == ("1.19.6", [str(path)])
        assert charts.find(KNOWN, path, "1.19") == found
    assert charts.find(KNOWN, tgz).read("values.yaml") == "a: 1\n"
    assert charts.find(KNOWN, None).words() == ["cilium/cilium", "--version", RELEASE.version]
    assert charts.find(KNOWN, None, "1.18").release.version == "1.18.12"


def test_what_is_no_chart_of_the_lock_is_refused(tmp_path: Path) -> None:
    """Another version, another chart, another file, and nothing at all."""
    for path, says in (
        (chart(tmp_path / "old", "1.17.9"), "Cilium 1.17.9 is not in meshproof's lock"),
        (chart(tmp_path / "other", name="istio"), "is the chart istio, not cilium"),
        (chart(tmp_path / "odd", "'1.20'"), "says version 1.20; the lock has 1.20.0"),
        (packed(tmp_path / "x.tgz", {"x/Chart.yaml": b""}), "has no cilium/Chart.yaml"),
        (packed(tmp_path / "y.tgz", {"cilium/Chart.yaml": b"- 1"}), "says no name and version"),
        (tmp_path / "nowhere.tgz", "cannot be read as a chart: "),
        (LOCK, "cannot be read as a chart: "),
    ):
        with pytest.raises(EnvironmentUnfit) as refused:
            charts.find(KNOWN, path)
        assert says in str(refused.value)
    with pytest.raises(EnvironmentUnfit, match=r"is the chart of Cilium 1\.20\.0, and 1\.19 was asked for"):
        charts.find(KNOWN, chart(tmp_path / "new"), "1.19")
