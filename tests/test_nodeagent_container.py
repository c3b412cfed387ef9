"""Containers for real: namespaces, an overlay root, a user, exec and stop. Needs root, in namespaces of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fleet

PROGRAM = """
import json, os, queue, sys, time
from pathlib import Path
from meshproof.clusters.embedded import netns
from meshproof.clusters.embedded.nodeagent import container, images, sandbox
from meshproof.clusters.embedded.nodeagent.identity import Identity
from meshproof.clusters.embedded.nodeagent.processes import Processes

scratch = Path(sys.argv[1])
netns.create("node")
box = sandbox.Sandbox(sandbox.name_for("east", "uid"), "node", "10.0.0.2", "10.0.0.1")
sandbox.build(box)
images.prepare({"python": "/usr/bin/python3"}, scratch / "images")
image = images.resolve("python", {"python": "/usr/bin/python3"}, scratch / "images")
(scratch / "volume").mkdir()
(scratch / "volume" / "file").write_text("content")
who = Identity(1234, 2345, (3456,), (), no_new_privileges=True, read_only=True)
plan = container.Plan(
    image, who, ("sh", "-c", sys.argv[2]), {"PATH": "/usr/bin:/bin", "SHOWN": "yes"}, "/data", "inside", box.name,
    (container.Mount(scratch / "volume", "/data", True),), scratch / "run",
)
os.environ["SECRET"] = "of the agent"
codes = queue.Queue()
out, into = os.pipe()
run = container.start(Processes(), plan, into, into, codes.put)
os.close(into)
first = ""
while "begun" not in first:
    first += os.read(out, 65536).decode()
code, entered = run.execute(
    ["sh", "-c", "id -u; hostname; echo $SHOWN$SECRET; cat file; echo; ls -d /proc/[0-9]* | wc -l"], 5)
began = time.monotonic()
run.stop(0.3, None)
took = time.monotonic() - began
sandbox.remove(box)
print(json.dumps({
    "first": first, "code": code, "entered": entered.split(), "took": took, "ended": codes.get(timeout=5),
    "left": sorted(os.listdir("/run/netns")),
}))
"""
INSIDE = """
grep -E '^(Uid|Gid|Groups|CapBnd|CapEff|NoNewPrivs):' /proc/self/status
touch /data/x /x 2>/dev/null && echo writable
find /root /home /srv /opt /work -mindepth 1 2>/dev/null
ls -d /sys/class/net/eth0
echo $$
trap '' TERM
echo begun
while true; do sleep 1; done
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One container started, entered and stopped; what was seen of it."""
    scratch = tmp_path_factory.mktemp("scratch")
    program = scratch / "program.py"
    program.write_text(PROGRAM)
    mounts = 'mkdir -p /run/netns; mount -t tmpfs none /run/netns; mkdir "$1/s"; mount -t tmpfs none "$1/s"'
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation"),
            *("private", "sh", "-c", mounts + '; exec "$2" "$1/program.py" "$1/s" "$3"', "sh", str(scratch)),
            *(sys.executable, INSIDE),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_container_runs_as_its_user_without_rights(seen: dict[str, Any]) -> None:
    """User, groups, no capability and no new privileges, as process 1."""
    lines = dict(line.split(":\t") for line in seen["first"].splitlines() if ":\t" in line)
    assert lines["Uid"].split() == ["1234"] * 4
    assert lines["Gid"].split() == ["2345"] * 4
    assert lines["Groups"].split() == ["3456"]
    assert int(lines["CapBnd"], 16) == int(lines["CapEff"], 16) == 0
    assert lines["NoNewPrivs"] == "1"
    assert seen["first"].splitlines()[-2:] == ["1", "begun"]


def test_a_container_sees_and_changes_nothing_of_the_host(seen: dict[str, Any]) -> None:
    """Read-only root and volume, no homes, its own network."""
    assert "writable" not in seen["first"]
    assert [line for line in seen["first"].splitlines() if ":\t" not in line] == ["/sys/class/net/eth0", "1", "begun"]


def test_exec_enters_the_same_namespaces_as_the_same_user(seen: dict[str, Any]) -> None:
    """User, host name, environment, working directory and processes are the container's."""
    assert seen["code"] == 0
    user, host, variables, content, processes = seen["entered"]
    assert (user, host, variables) == ("1234", "inside", "yes")
    assert content.startswith("content")
    assert int(processes) < 10


def test_what_does_not_stop_is_killed_and_leaves_nothing(seen: dict[str, Any]) -> None:
    """SIGTERM is ignored, SIGKILL comes after the grace period, the pod's network is gone."""
    assert 0.3 <= seen["took"] < 2
    assert seen["ended"] == 137
    assert seen["left"] == ["node"]
