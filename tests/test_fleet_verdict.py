"""What a person gets from one real fleet: a verdict that can be made again, kubectl that works, a suite that notices.

One fleet for the whole module, in a state directory of its own; a fleet `two` that is up already is used
instead and left up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import binaries
from meshproof.clusters.embedded.provider import EmbeddedProvider, processes_of
from meshproof.clusters.fleet import Fleet

pytestmark = pytest.mark.fleet

TWO = fleetfile.FLEETS / "two.yaml"
COMMAND_SECONDS_MAX = 240.0
KUBECTL_SECONDS_MAX = 30.0
PAIRS = ("[east-west]", "[west-east]")
Done = subprocess.CompletedProcess[str]


def meshproof(*arguments: str, cwd: Path) -> Done:
    command = [sys.executable, "-m", "meshproof", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX)


def told(done: Done) -> str:
    return f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are run and runs are kept."""
    return tmp_path_factory.mktemp("verdict")


@pytest.fixture(scope="module")
def fleet(folder: Path) -> Iterator[Fleet]:
    spec = fleetfile.load(TWO)
    lent = EmbeddedProvider().find(spec)
    if lent is not None:
        yield lent
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHPROOF_STATE", str(folder / "state"))
        try:
            up = meshproof("up", "two", cwd=folder)
            assert up.returncode == 0, told(up)
            found = EmbeddedProvider().find(spec)
            assert found is not None
            yield found
        finally:
            down = meshproof("down", "two", cwd=folder)
        assert down.returncode == 0, told(down)
        assert not found.directory.exists()
        assert processes_of(found.directory) == []


@pytest.fixture(scope="module")
def run(fleet: Fleet, folder: Path) -> Path:
    """The folder of a whole green conformance run."""
    done = meshproof("run", "conformance", "--fleet", "two", "--seed", "7", cwd=folder)
    assert done.returncode == 0, told(done)
    return (folder / "runs" / "latest").resolve()


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "copy", symlinks=True))


# --- a verdict -----------------------------------------------------------------------------------------------------


def test_a_run_leaves_everything_one_needs_to_believe_it(run: Path) -> None:
    """A green run leaves its report, JUnit, Allure results, and a history for each case of each pair."""
    report = yaml.safe_load((run / "report.yaml").read_text())
    assert report["kind"]
    assert "testcase" in (run / "junit.xml").read_text()
    assert list((run / "allure-results").glob("*-result.json"))
    histories = {path.parent.name for path in run.glob("cases/*/history.jsonl")}
    assert histories >= {requirement + pair for requirement in ("DISC-01", "DISC-04") for pair in PAIRS}
    assert run.stat().st_mode & 0o077 == 0


def test_no_key_or_token_is_in_what_a_run_leaves(run: Path, fleet: Fleet) -> None:
    """Nothing of a kubeconfig is in any file of a run, so that one may be attached to a bug report."""
    merged = json.loads((fleet.directory / "kubeconfig" / "all").read_text())
    secrets = [Path(user["user"]["client-key"]).read_bytes().splitlines()[1] for user in merged["users"]]
    secrets += [b"PRIVATE KEY", b"client-key"]
    guilty = [
        str(path)
        for path in run.rglob("*")
        if path.is_file() and any(secret in path.read_bytes() for secret in secrets)
    ]
    assert guilty == []


def test_an_untouched_run_is_judged_the_same_again(copy: Path, tmp_path: Path) -> None:
    """Replay needs the run's files only, and agrees with every stored verdict."""
    done = meshproof("replay", "--verdicts", str(copy), cwd=tmp_path)
    assert done.returncode == 0, told(done)


def answered_by_the_unshared_cluster(line: dict[str, Any]) -> None:
    line["by"] |= {"cluster": "west", "node": "west-1"}


def timed_out(line: dict[str, Any]) -> None:
    del line["by"]
    line["outcome"] = "timed-out"


@pytest.mark.parametrize("change", [answered_by_the_unshared_cluster, timed_out])
def test_one_changed_observation_changes_the_verdict(
    copy: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """One reply after the unsharing that never came so turns that case, and no other, red; replay says which."""
    case = "DISC-04[east-west]"
    path = copy / "cases" / case / "history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    watched = next(line for line in lines if line["kind"] == "expectation" and line["rule"] == "consistently")
    first, last = watched["over"]
    changed = lines[(first + last) // 2 - 1]
    assert (changed["kind"], changed["outcome"], changed["by"]["cluster"]) == ("observation", "reached", "east")
    change(changed)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    done = meshproof("replay", "--verdicts", str(copy), cwd=tmp_path)

    assert done.returncode == 1, told(done)
    differing = [line.split()[:3] for line in done.stdout.splitlines() if "DIFFERENT" in line]
    assert differing == [[case, "passed", "failed"]], told(done)


# --- a fleet that is up --------------------------------------------------------------------------------------------


@pytest.fixture
def kubectl(fleet: Fleet, tmp_path: Path) -> Callable[..., Done]:
    """The kubectl that belongs to the fleet, with the kubeconfig that `up` told."""
    built = binaries.find_built()
    assert built is not None
    program = str(built.kubectl)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "KUBECONFIG": str(fleet.directory / "kubeconfig" / "all"),
    }

    def call(context: str, *arguments: str) -> Done:
        command = [program, "--context", context, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=KUBECTL_SECONDS_MAX, cwd=tmp_path
        )

    return call


@pytest.mark.parametrize("cluster", ["east", "west"])
def test_kubectl_works_in_every_cluster(kubectl: Callable[..., Done], cluster: str) -> None:
    """`get pods -A` lists CoreDNS at work, `exec` returns output and exit code of a command, `logs` the pod's words."""
    pods = kubectl(cluster, "get", "pods", "-A", "-o", "json")
    assert pods.returncode == 0, told(pods)
    found = {pod["metadata"]["name"]: pod["status"] for pod in json.loads(pods.stdout)["items"]}
    [name] = [name for name in found if name.startswith("coredns-")]
    assert found[name]["phase"] == "Running"

    inside = kubectl(cluster, "exec", "-n", "kube-system", name, "--", "/bin/sh", "-c", "echo from inside; exit 3")
    assert (inside.returncode, inside.stdout) == (3, "from inside\n"), told(inside)

    logs = kubectl(cluster, "logs", "-n", "kube-system", name)
    assert logs.returncode == 0, told(logs)
    assert "CoreDNS" in logs.stdout


def test_one_clusters_admin_is_nobody_in_another(fleet: Fleet, kubectl: Callable[..., Done], tmp_path: Path) -> None:
    """East's key at west's API server is refused, with the right authority to trust and all."""
    merged = json.loads((fleet.directory / "kubeconfig" / "all").read_text())
    east, west = merged["users"]
    west["user"] = east["user"]
    mixed = tmp_path / "mixed"
    mixed.write_text(json.dumps(merged))
    assert kubectl("east", "--kubeconfig", str(mixed), "get", "nodes").returncode == 0
    refused = kubectl("west", "--kubeconfig", str(mixed), "get", "nodes")
    assert refused.returncode == 1, told(refused)
    assert "Unauthorized" in refused.stderr or "logged in" in refused.stderr, told(refused)


def state_of(fleet: Fleet) -> tuple[list[int], dict[str, bytes]]:
    """Processes, and files that are not logs."""
    files = [path for path in fleet.directory.rglob("*") if path.is_file() and "logs" not in path.parts]
    return sorted(processes_of(fleet.directory)), {str(path): path.read_bytes() for path in files}


def test_a_second_up_changes_nothing(fleet: Fleet, folder: Path) -> None:
    """`up` of the same file says that the fleet is up, and exits 0."""
    before = state_of(fleet)
    again = meshproof("up", str(TWO), cwd=folder)
    assert again.returncode == 0, told(again)
    assert "fleet 'two' is already up" in again.stderr
    assert f"export KUBECONFIG={fleet.directory}/kubeconfig/all" in again.stdout
    assert state_of(fleet) == before


def test_up_of_another_file_with_the_same_name_is_refused(fleet: Fleet, folder: Path, tmp_path: Path) -> None:
    """A file that says something else under the same name is exit 10 and one sentence, and nothing is changed."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(TWO.read_text().replace("10.142.0.0", "10.152.0.0"))
    before = state_of(fleet)
    refused = meshproof("up", str(mine), cwd=folder)
    assert refused.returncode == 10, told(refused)
    assert f"{mine}: a fleet named 'two' is already up from another fleet file" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert state_of(fleet) == before


def test_the_suite_notices_a_defect(fleet: Fleet, folder: Path) -> None:
    """`prove` finds a defect by its requirement, green before and after, and leaves the mesh healthy."""
    done = meshproof("prove", "--fleet", "two", "--seed", "7", "--defect", "shared_ignored", cwd=folder)
    assert done.returncode == 0, told(done)
    [matrix] = (folder / "runs").glob("*-prove/prove.yaml")
    counts = yaml.safe_load(matrix.read_text())["summary"]
    assert {outcome: count for outcome, count in counts.items() if count} == {"noticed": 1}
    assert EmbeddedProvider().find(fleet.spec) is not None
