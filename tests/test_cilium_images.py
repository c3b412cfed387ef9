"""Images carried by hand: the docker commands, in order, and what is refused. No registry and no docker was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshproof.cli import main
from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.clusters.meshes.cilium import archives
from meshproof.clusters.meshes.cilium.lock import lock
from meshproof.clusters.meshes.cilium.placement import place

RELEASE = lock().default
CILIUM = RELEASE.images[0]
DOCKER = """#!/bin/sh
echo "$@" >> {home}/asked
case "$1 $2" in
"image inspect") echo '["x@{digest}"]' ;;
"exec --interactive") cat > {home}/loaded ;;
"exec node") printf '%s\\n' {held} ;;
"save "*) for word; do case "$word" in --output=*) echo images > "${{word#--output=}}" ;; esac; done ;;
esac
"""


def put_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str = CILIUM.digest, held: str = "") -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(DOCKER.format(home=tmp_path, digest=digest, held=held))
    (tmp_path / "bin/docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked").read_text().splitlines()


def test_docker_is_given_a_digest_without_a_tag() -> None:
    """A port is no tag, a tag stays where there is no digest."""
    (mirrored,) = place(RELEASE, mirror="registry.example:5000/m")[:1]
    assert archives.source(mirrored) == f"registry.example:5000/m/cilium@{CILIUM.digest}"
    (tagged,) = place(RELEASE, overrides={"cilium": "registry.example:5000/c:1"})[:1]
    assert archives.source(tagged) == "registry.example:5000/c:1"


def test_images_are_pulled_checked_named_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By digest and for one platform, under the product's own names, into a file that is whole or absent."""
    put_docker(tmp_path, monkeypatch)
    archive = tmp_path / "c.tar"
    archives.save(place(RELEASE, mirror="registry.example/m")[:1], "linux/arm64", archive, lambda _: None)
    source = f"registry.example/m/cilium@{CILIUM.digest}"
    assert asked(tmp_path) == [
        f"pull --quiet --platform=linux/arm64 {source}",
        f"image inspect --format={{{{json .RepoDigests}}}} {source}",
        f"tag {source} {CILIUM.tagged}",
        f"save --platform=linux/arm64 --output={archive}.part {CILIUM.tagged}",
    ]
    assert archive.read_text() == "images\n"
    with pytest.raises(EnvironmentUnfit, match="is there already"):
        archives.save(place(RELEASE), "linux/arm64", archive, lambda _: None)


def test_another_image_than_the_locked_one_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docker holds is compared with the digest that was asked for."""
    put_docker(tmp_path, monkeypatch, digest="sha256:" + "0" * 64)
    with pytest.raises(EnvironmentUnfit, match="was pulled, and docker holds sha256:0000"):
        archives.save(place(RELEASE), "linux/amd64", tmp_path / "c.tar", lambda _: None)
    assert not any(line.startswith(("tag", "save")) for line in asked(tmp_path))
    assert not (tmp_path / "c.tar").exists()


def test_an_override_without_a_digest_is_said_to_be_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken, since somebody asked for it by name, and not in silence."""
    put_docker(tmp_path, monkeypatch)
    told: list[str] = []
    images = place(RELEASE, overrides={"cilium": "registry.example/c:1"})[:1]
    archives.save(images, "linux/amd64", tmp_path / "c.tar", told.append)
    assert any("registry.example/c:1 names no digest, so it is not checked" in line for line in told)


def test_a_docker_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal has docker's words and the command."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text("#!/bin/sh\necho manifest unknown >&2; exit 1\n")
    (tmp_path / "bin/docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(EnvironmentUnfit, match=r"could not be saved: .*\nmanifest unknown\nto repeat it: docker pull"):
        archives.save(place(RELEASE), "linux/amd64", tmp_path / "c.tar", lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_an_archive_is_loaded_and_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the node's standard input; a node that lacks an image afterwards is told of."""
    put_docker(tmp_path, monkeypatch, held=CILIUM.tagged)
    archive = tmp_path / "c.tar"
    archive.write_text("images")
    archives.load(place(RELEASE)[:1], archive, ["node"], lambda _: None)
    assert (tmp_path / "loaded").read_text() == "images"
    assert asked(tmp_path) == [
        "exec --interactive node ctr --namespace=k8s.io images import --digests -",
        "exec node ctr --namespace=k8s.io images list --quiet",
    ]
    with pytest.raises(EnvironmentUnfit, match=rf"does not hold \S+/operator-generic:{RELEASE.images[1].tag}, "):
        archives.load(place(RELEASE), archive, ["node"], lambda _: None)
    with pytest.raises(EnvironmentUnfit, match="is no file; meshproof images save makes one"):
        archives.load(place(RELEASE), tmp_path / "gone", ["node"], lambda _: None)


def test_list_prints_every_reference(capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, or as JSON; a line of the lock may be chosen, and a mirror."""
    assert main(["images", "list"]) == 0
    table = capsys.readouterr().out
    assert all(image.pinned in table for image in RELEASE.images)
    assert main(["images", "list", "--cilium", "1.19", "--mirror", "registry.example/m", "-o", "json"]) == 0
    older = lock().release("1.19")
    assert json.loads(capsys.readouterr().out)[0] == {
        "name": "cilium",
        "reference": f"registry.example/m/cilium:v1.19.6@{older.images[0].digest}",
    }


def test_save_and_load_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of the command line reach docker with every image of the release."""
    put_docker(tmp_path, monkeypatch, held=" ".join(image.tagged for image in RELEASE.images))
    digests = json.dumps([f"x@{image.digest}" for image in RELEASE.images])
    text = (tmp_path / "bin/docker").read_text()
    (tmp_path / "bin/docker").write_text(text.replace(f'["x@{CILIUM.digest}"]', digests))
    archive = str(tmp_path / "c.tar")
    assert main(["images", "save", archive]) == 0
    assert main(["images", "load", archive, "--node", "node"]) == 0
    assert "has 4 images" in capsys.readouterr().out
    assert [line for line in asked(tmp_path) if line.startswith("save")] == [
        f"save --platform=linux/amd64 --output={archive}.part " + " ".join(image.tagged for image in RELEASE.images)
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["images"], 4),
        (["images", "lst"], 4),
        (["images", "load", "x"], 4),
        (["images", "list", "--mirors", "x"], 4),
        (["images", "list", "--cilium", "1.17"], 10),
        (["images", "list", "--override", "envoy"], 10),
    ],
)
def test_wrong_words_have_their_codes(words: list[str], code: int) -> None:
    """Wrong usage is 4, and what the lock does not have is 10."""
    assert main(words) == code
