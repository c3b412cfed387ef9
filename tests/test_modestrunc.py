"""The runtime in front of runc: on a machine without CAP_SYS_RESOURCE it asks for less, and changes nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.embedded import binaries, golang
from meshproof.clusters.kind import gobuild
from meshproof.clusters.places import cache_directory

pytestmark = [pytest.mark.fleet, pytest.mark.kind, pytest.mark.slow]

LACKING = ("setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource")
PROCESS = {
    "args": ["/bin/true"],
    "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "effective": ["CAP_SYS_RESOURCE"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 2**40, "soft": 2**40}],
    "oomScoreAdj": -999,
}


def quiet(line: str) -> None:
    del line


@pytest.fixture(scope="session")
def modestrunc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from its source; standard library only, so it takes seconds."""
    folder = tmp_path_factory.mktemp("modestrunc")
    go = binaries.recipe(gobuild.RUNTIME.parent / "nodecall").go.command or golang.install(cache_directory(), quiet)
    arguments = [str(go), "build", "-o", str(folder / "modestrunc"), "./modestrunc"]
    golang.watch(arguments, directory=gobuild.RUNTIME, environment=golang.environment(folder), progress=quiet)
    (folder / "runc").write_text('#!/bin/sh\necho "$@"\n')
    (folder / "runc").chmod(0o755)
    return folder / "modestrunc"


def call(modestrunc: Path, *arguments: str, lacking: bool = True) -> str:
    command = [*(LACKING if lacking else ()), str(modestrunc), *arguments]
    environment = {"PATH": f"{modestrunc.parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def bundle(folder: Path) -> Path:
    (folder / "config.json").write_text(
        json.dumps({"ociVersion": "1.0.2", "process": PROCESS, "annotations": {"n": 2**60}})
    )
    return folder


def assert_modest(process: dict[str, Any]) -> None:
    assert process["args"] == ["/bin/true"]
    assert process["capabilities"] == {"bounding": ["CAP_CHOWN"], "effective": []}
    assert "rlimits" not in process
    assert process["oomScoreAdj"] == int(Path("/proc/self/oom_score_adj").read_text())


@pytest.mark.parametrize("option", [["--bundle", "{}"], ["--bundle={}"], ["-b", "{}"]])
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_bundle_asks_for_what_there_is(modestrunc: Path, tmp_path: Path, verb: str, option: list[str]) -> None:
    """Its process has no capability, rlimit or OOM score that would be refused; runc gets every word it was given."""
    words = ["--root", "/x", verb, *(part.format(bundle(tmp_path)) for part in option), "name"]
    assert call(modestrunc, *words) == " ".join(words) + "\n"
    spec = json.loads((tmp_path / "config.json").read_text())
    assert_modest(spec["process"])
    assert spec["annotations"] == {"n": 2**60}


def test_a_process_that_joins_asks_for_what_there_is(modestrunc: Path, tmp_path: Path) -> None:
    """exec reads its process from a file of its own."""
    (tmp_path / "process.json").write_text(json.dumps(PROCESS))
    call(modestrunc, "exec", "--process", str(tmp_path / "process.json"), "--detach", "name")
    assert_modest(json.loads((tmp_path / "process.json").read_text()))


def test_other_verbs_change_nothing(modestrunc: Path, tmp_path: Path) -> None:
    """Neither the word `create` as a container's name nor a bundle nearby is touched."""
    before = (bundle(tmp_path) / "config.json").read_text()
    call(modestrunc, "delete", "--force", "create")
    call(modestrunc, "state", "name")
    assert (tmp_path / "config.json").read_text() == before
