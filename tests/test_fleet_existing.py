"""Clusters somebody else made: looked at, tested by an account with few rights, and left as they were found.

One embedded fleet is handed over as a stranger's: by kubeconfigs of theirs, to a ServiceAccount that may do what
`meshproof rbac` prints and nothing more. One of its clusters has a default-deny policy in every namespace (which the
reference mesh does not enforce: what a case says when probes are cut is shown in test_existing.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

from meshproof.clusters import fleetfile
from meshproof.clusters.api import call
from meshproof.clusters.embedded.provider import EmbeddedProvider
from meshproof.clusters.existing.permissions import TABLE, needed
from meshproof.clusters.fleet import Fleet
from meshproof.clusters.ownership import RUN_LABEL
from tests import stranger

pytestmark = pytest.mark.fleet

COMMAND_SECONDS_MAX = 300.0
APPEAR_SECONDS_MAX = 60.0
POLL_SECONDS = 0.2
CONTEXTS = ("--context", "their-east", "--context", "their-west")
CASES = ("DISC-01", "DISC-03", "DISC-04", "DISC-09", "DISC-17", "DISC-18", "LB-02", "LB-10")
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Theirs:
    """A stranger's clusters, and the account that somebody gave us in them."""

    fleet: Fleet
    folder: Path
    kubeconfig: str
    tokens: tuple[str, ...] = field(repr=False)

    def environment(self, kubeconfig: str = "") -> dict[str, str]:
        return {
            **os.environ,
            "KUBECONFIG": kubeconfig or self.kubeconfig,
            "MESHPROOF_STATE": str(self.folder / "state"),
        }

    def meshproof(self, *words: str, kubeconfig: str = "") -> Done:
        command = [sys.executable, "-m", "meshproof", *words]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(kubeconfig),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
        )

    def everything(self) -> dict[str, dict[str, str]]:
        return {cluster.name: stranger.everything(cluster) for cluster in self.fleet.clusters}

    def namespaces(self) -> list[str]:
        listed = call(self.fleet["east"], "GET", "/api/v1/namespaces", query={"labelSelector": RUN_LABEL})
        return [item["metadata"]["name"] for item in listed["items"]]


BY_AND_BY = {f"/api/v1/mp-theirs/{each}" for each in ("configmaps/kube-root-ca.crt", "serviceaccounts/default")}
"""What a controller makes in a new namespace."""


def differing(now: dict[str, dict[str, str]], before: dict[str, dict[str, str]]) -> list[str]:
    """The objects that came, went or changed."""
    pairs = {(cluster, *item) for cluster, there in now.items() for item in there.items()}
    return sorted({f"{c} {path}" for c, path, _ in pairs ^ {(c, *i) for c, t in before.items() for i in t.items()}})


def told(done: Done) -> str:
    return f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    folder = tmp_path_factory.mktemp("existing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHPROOF_STATE", str(folder / "their-state"))
        spec = fleetfile.load(fleetfile.resolve("two"))
        fleet = EmbeddedProvider().up(spec, lambda line: None)
        try:
            stranger.close(fleet["west"])
            tokens = {c.name: stranger.account(c, "tester", needed("reference")) for c in fleet.clusters}
            config = stranger.kubeconfig(fleet, folder / "kube", tokens)
            yield Theirs(fleet, folder, config, tuple(tokens.values()))
        finally:
            EmbeddedProvider().down("two", lambda line: None)


@pytest.fixture(scope="module")
def run(theirs: Theirs) -> Path:
    """A run by the account with few rights, between two looks at everything in the clusters.

    Cases that together do all that the suite ever does to a cluster; on one pair, since the other does no more.
    """
    before, files = theirs.everything(), kubeconfigs(theirs)
    chosen = " or ".join(f"{id}[their-east-their-west]" for id in CASES)
    done = theirs.meshproof("run", *CONTEXTS, "--seed", "7", "-k", chosen)
    assert done.returncode == 0, told(done)
    assert theirs.everything() == before
    assert kubeconfigs(theirs) == files
    return (theirs.folder / "runs" / "latest").resolve()


def kubeconfigs(theirs: Theirs) -> dict[str, bytes]:
    return {path: Path(path).read_bytes() for path in theirs.kubeconfig.split(":")}


# --- before -------------------------------------------------------------------------------------------------------


def test_doctor_looks_and_says_what_it_saw(theirs: Theirs) -> None:
    """An account with just the roles of `meshproof rbac` is fit; policies that select every pod are a warning."""
    before = theirs.everything()
    done = theirs.meshproof("doctor", *CONTEXTS, "-o", "json")
    assert done.returncode == 0, told(done)
    content = json.loads(done.stdout)
    found = {(each["cluster"], each["name"]): each for each in content["checks"]}
    assert "you are system:serviceaccount:ci:tester" in found["their-west", "identity"]["seen"]
    assert found["their-east", "permissions"]["ok"], found["their-east", "permissions"]
    assert "PodSecurity restricted" in found["their-east", "namespace"]["seen"]
    assert found["(all)", "mesh"]["seen"] == "reference, as it looks"
    assert [found[name, "policies"]["ok"] for name in ("their-east", "their-west")] == [True, False]
    assert found["their-west", "nodes"]["seen"].startswith("2 take pods; pod networks 10.142.")
    assert theirs.everything() == before
    assert not any(token in done.stdout + done.stderr for token in theirs.tokens)


def test_two_contexts_of_one_cluster_are_refused(theirs: Theirs) -> None:
    """Which contexts are the same cluster is named; nothing is run."""
    for verb in ("doctor", "run"):
        done = theirs.meshproof(verb, "--context", "their-east", "--context", "also-east")
        assert done.returncode == 10, told(done)
        assert "contexts their-east and also-east are one cluster" in done.stdout + done.stderr


def test_what_is_missing_is_named_with_the_command_that_grants_it(theirs: Theirs, tmp_path: Path) -> None:
    """Without exec and without patching Services a run is refused, and each missing verb is listed."""
    lines = [line for line in needed("reference") if line.resource not in ("pods/exec", "services")]
    lines += [replace(line, verbs=("list", "create", "delete")) for line in TABLE if line.resource == "services"]
    tokens = {c.name: stranger.account(c, "half", lines) for c in theirs.fleet.clusters}
    config = stranger.kubeconfig(theirs.fleet, tmp_path / "kube", tokens)
    before = theirs.everything()
    done = theirs.meshproof("run", *CONTEXTS, kubeconfig=config)
    assert done.returncode == 10, told(done)
    assert "their-east: you may not patch services; get,create pods/exec" in done.stderr
    assert "meshproof rbac --subject 'serviceaccount:ci:half' | kubectl --context 'their-east' apply" in done.stderr
    assert theirs.everything() == before


# --- a run --------------------------------------------------------------------------------------------------------


def test_a_run_needs_no_more_than_it_asks_for(run: Path) -> None:
    """The cases are green with the rights of `meshproof rbac`, and nothing of the clusters is changed after them."""
    report = yaml.safe_load((run / "report.yaml").read_text())
    fleet = report["fleet"]
    assert (fleet["provider"], [c["name"] for c in fleet["clusters"]]) == ("existing", ["their-east", "their-west"])
    assert all(c["nodes"] == 2 and "nodeCIDR" not in c for c in fleet["clusters"])


def test_a_run_keeps_no_secret_and_asks_a_plugin_seldom(run: Path, theirs: Theirs) -> None:
    """No token is in what a run leaves; a credential plugin is called once a process, not once a probe."""
    secrets = [token.encode() for token in theirs.tokens]
    kept = [path for path in (*run.rglob("*"), *(theirs.folder / "state").rglob("*")) if path.is_file()]
    assert [path for path in kept if any(secret in path.read_bytes() for secret in secrets)] == []
    calls = len((theirs.folder / "kube" / "plugin-calls").read_text().splitlines())
    assert calls < 20


def test_a_defect_needs_allowed_disruption(theirs: Theirs) -> None:
    """The mesh of somebody else is not touched without --allow-disruption."""
    before = theirs.everything()
    done = theirs.meshproof("run", *CONTEXTS, "--defect", "shared_ignored", "-k", "DISC-04")
    assert done.returncode == 10, told(done)
    assert "--allow-disruption" in done.stderr
    assert theirs.everything() == before


# --- after --------------------------------------------------------------------------------------------------------


def test_what_a_killed_run_left_is_found_by_label_and_removed(theirs: Theirs) -> None:
    """After kill -9 cleanup spares a young run, removes one that is named, and never what only looks like ours."""
    for cluster in theirs.fleet.clusters:
        stranger.ensure(cluster, "/api/v1/namespaces", {"metadata": {"name": "mp-theirs"}})
    until = time.monotonic() + APPEAR_SECONDS_MAX
    before = theirs.everything()
    while any(BY_AND_BY.difference(there) for there in before.values()):
        assert time.monotonic() < until, "the new namespace did not get what each has"
        time.sleep(POLL_SECONDS)
        before = theirs.everything()
    command = [sys.executable, "-m", "meshproof", "run", *CONTEXTS, "-k", "LB-04 or DISC-04"]
    process = subprocess.Popen(
        command,
        cwd=theirs.folder,
        env=theirs.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + APPEAR_SECONDS_MAX
        while not theirs.namespaces():
            assert time.monotonic() < until, "the run made no namespace"
            time.sleep(POLL_SECONDS)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # and pytest with it: it dies with its parent
        process.wait()
    dry = theirs.meshproof("cleanup", *CONTEXTS, "--dry-run", "-o", "json")
    spared = json.loads(dry.stdout)["spared"]
    assert {one["cluster"] for one in spared} == {"their-east", "their-west"}, told(dry)
    (id,) = {one["run"] for one in spared}
    young = theirs.meshproof("cleanup", *CONTEXTS)
    assert f"cleanup --context their-east --context their-west --run {id}" in young.stdout, told(young)
    assert theirs.namespaces()
    first, again = (theirs.meshproof("cleanup", *CONTEXTS, "--run", id) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), told(first)
    assert "nothing is left" in again.stdout
    assert differing(theirs.everything(), before) == []
