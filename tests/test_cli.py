"""The command line: exit codes, one sentence for each bad day, and a fleet that is left as it was found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshproof.cli import main
from meshproof.cli.exits import Exit
from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import provider as embedded
from meshproof.clusters.fleet import EnvironmentUnfit, Fleet, FleetSpec, FleetStatus, Progress
from meshproof.clusters.kind.images import TRAFFIC
from tests.fake_provider import FakeProvider

COMMANDS = (
    "doctor",
    "up",
    "status",
    "down",
    "list",
    "describe",
    "run",
    "prove",
    "report",
    "replay",
    "plan",
    "rbac",
    "cleanup",
    "images",
    "values",
)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeProvider:
    fake = FakeProvider()
    fake.asked = []
    monkeypatch.setattr(embedded, "EmbeddedProvider", lambda: fake)
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return fake


def meshproof(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "meshproof", *words], capture_output=True, text=True, timeout=30)


def test_help_teaches_and_lists_only_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """--help has examples, exit codes and the commands of today."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("examples:", "exit codes:", *COMMANDS):
        assert word in text
    for later in ("heal", "compare", "bundle", "gate"):
        assert f"\n    {later} " not in text


def test_a_closed_stdout_is_no_fault() -> None:
    """A caller that closes it wants the exit code alone."""
    words = ["sh", "-c", 'exec "$0" -m meshproof list >&-', sys.executable]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_nothing_heavy() -> None:
    """--help answers at once because only the standard library and our own small modules are imported."""
    heavy = "yaml jsonschema kubernetes pytest pyroute2 cryptography rich urllib3 meshproof.clusters.fleetfile"
    program = (
        "import sys; from meshproof.cli import main; main(['--help']); "
        f"print([name for name in {heavy.split()} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    "words", [[], ["upp"], ["up"], ["run", "nothing"], ["run", "--seed", "-1"], ["status", "--", "x"]]
)
def test_wrong_usage_is_4(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage has pytest's code for it, because 2 says interrupted, and one line on stderr."""
    assert main(words) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


def test_a_wrong_fleet_file_is_10_with_its_line(provider: FakeProvider, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong fleet file is told with file and line, and nothing is asked of the provider."""
    Path("mine.yaml").write_text(fleetfile.resolve("two").read_text().replace("id: 2", "id: 1"))
    assert main(["up", "mine.yaml"]) == 10
    assert capsys.readouterr().err == (
        "meshproof: mine.yaml:8: clusters[1].id 1 is already the id of east (line 7); give each cluster its own id\n"
    )
    assert provider.asked == []


def test_an_unknown_fleet_is_10_and_lists_the_built_in_ones(
    provider: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fleet nobody knows is answered with the ones there are."""
    assert main(["run", "--fleet", "tow"]) == 10
    assert "two, three, kind-two, three-service-cidrs" in capsys.readouterr().err


def test_up_prints_lines_for_a_shell(provider: FakeProvider, capsys: pytest.CaptureFixture[str]) -> None:
    """What up prints on stdout can be evaluated by a shell; its progress is on stderr."""
    assert main(["up", "two"]) == 0
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if not line.startswith("#")] == [
        "export KUBECONFIG=/state/fleets/two/kubeconfig/all"
    ]
    assert err == "progress of up\n"


def test_status_of_one_fleet_has_an_exit_code(provider: FakeProvider, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked about one fleet, status says by its code whether that is ready; -o json is pure JSON."""
    assert main(["status", "two", "-o", "json"]) == 10
    assert json.loads(capsys.readouterr().out)["fleets"][0]["phase"] == "absent"
    provider.phase = "ready"
    assert main(["status", "two"]) == 0
    assert "ready after 8.5 s" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert "there is no fleet" in capsys.readouterr().out


def test_down_finds_what_is_there(provider: FakeProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name down takes the only fleet, of several it wants a name or --all; the fleet's file may be gone."""
    assert main(["down"]) == 0
    assert provider.asked == []
    assert main(["down", "two"]) == 0
    assert "fleet two was not up; nothing to take down" in capsys.readouterr().out
    provider.asked.clear()
    (tmp_path / "state/fleets/lost").mkdir(parents=True)
    assert main(["down"]) == 0
    (tmp_path / "state/fleets/two").mkdir(parents=True)
    assert main(["down"]) == 10
    assert "lost, two" in capsys.readouterr().err
    assert main(["down", "lost"]) == 0
    assert main(["down", "--all"]) == 0
    assert provider.asked == ["down lost", "down lost", "down lost", "down two"]


def test_list_and_describe_know_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    """Every requirement is listed with its status; describe tells one and suggests for a wrong id."""
    assert main(["list", "-o", "json"]) == 0
    entries = {entry["id"]: entry for entry in json.loads(capsys.readouterr().out)["requirements"]}
    assert {entry["status"] for entry in entries.values()} <= {"tested", "not built"}
    assert main(["describe", "disc-04", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out).items() >= entries["DISC-04"].items()
    for flag, status in (("--tested", "tested"), ("--not-built", "not built")):
        assert main(["list", flag, "-o", "json"]) == 0
        chosen = json.loads(capsys.readouterr().out)["requirements"]
        assert chosen == [entry for entry in entries.values() if entry["status"] == status]


def test_an_unexpected_error_is_3_and_its_traceback_is_kept(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A fault of ours is one sentence that says where the traceback is; only its owner may read that."""

    def broken(name: str) -> FleetStatus:
        raise KeyError("phase")

    monkeypatch.setattr(provider, "status", broken)
    assert main(["status", "two"]) == 3
    kept = tmp_path / "state/last-error.txt"
    assert capsys.readouterr().err == (
        f"meshproof: unexpected KeyError: 'phase'; this is a fault of meshproof, the traceback is in {kept}\n"
    )
    assert "broken" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert main(["--debug", "status", "two"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_met_late_is_10(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that fills after preflight is still an environment that cannot be used."""

    def full(spec: FleetSpec, progress: Progress) -> Fleet:
        raise OSError(28, "No space left on device", "/state/x")

    monkeypatch.setattr(provider, "up", full)
    assert main(["up", "two"]) == 10
    assert capsys.readouterr().err == "meshproof: cannot write: No space left on device (/state/x)\n"


def test_unfit_is_one_sentence(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """EnvironmentUnfit is printed as it is, without a traceback."""

    def unfit(spec: FleetSpec, progress: Progress) -> Fleet:
        raise EnvironmentUnfit("no embedded fleet here")

    monkeypatch.setattr(provider, "up", unfit)
    assert main(["run"]) == 10
    assert capsys.readouterr().err == "meshproof: no embedded fleet here\n"
    assert provider.asked == []


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`meshproof list | head -1` ends quietly, like any command that SIGPIPE ends."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "meshproof", "list"], stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=30
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_the_command_exists_as_a_module() -> None:
    """`python -m meshproof` is the same command."""
    assert meshproof("--version").stdout.startswith("meshproof ")


def test_only_kind_fleets_come_up_in_phases(provider: FakeProvider, capsys: pytest.CaptureFixture[str]) -> None:
    """--until and --from are refused where there are no phases, and nothing is brought up."""
    assert main(["up", "two", "--until", "network"]) == Exit.USAGE
    assert "--until and --from are for kind fleets" in capsys.readouterr().err
    assert provider.asked == []


def test_the_doctor_asks_what_the_fleets_provider_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """A kind fleet wants an Engine, cgroups and inotify; an embedded one does not."""
    assert main(["doctor", "kind-two"]) in (Exit.OK, Exit.UNFIT)
    told = capsys.readouterr().out
    for check in ("Docker Engine", "capabilities", "cgroups", "inotify max_user_instances", "memory", "disk"):
        assert check in told


def test_a_plan_names_the_image_that_the_fleet_brings(capsys: pytest.CaptureFixture[str]) -> None:
    """Pods of a kind fleet run an image made here, unless another one is asked for."""
    for more, image in (([], TRAFFIC), (["--image", "mine"], "mine")):
        assert main(["plan", "--fleet", "kind-two", "-o", "json", *more]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == [image]
