"""What an A/B/A says of a defect, and whose fleet it is said on; nothing is brought up and no case is run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from meshproof import prove as module
from meshproof.cli.prove import FLEETS
from meshproof.clusters import fleetfile
from meshproof.clusters.fleet import EnvironmentUnfit, FleetSpec, Progress
from meshproof.clusters.meshes.reference.defects import Defect, every
from meshproof.fixtures.requirements import catalogue
from meshproof.fixtures.verdicts import Verdict
from meshproof.phases import Phase, Runner, Step, run_all
from meshproof.prove import Trial, _conclude, judge, prove
from meshproof.rotation import class_of, rotated
from tests.fake_provider import FakeProvider

PAIR = "[east-west]"
PROMISE = "the peer stops using the unshared backends"
DEFECT = Defect("a-defect", "a bug", "DISC-04", PROMISE, ("DISC-01",), lambda pipeline: pipeline)
TARGET, NEIGHBOUR = "DISC-04" + PAIR, "DISC-01" + PAIR
PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN


def phase(
    target: Verdict | None = PASSED, neighbour: Verdict | None = PASSED, expectation: str = PROMISE, name: str = "a"
) -> Phase:
    """A phase with these verdicts; None is a case that left none."""
    found = {TARGET: target, NEIGHBOUR: neighbour}
    return Phase(Path(name), {case: (verdict, expectation) for case, verdict in found.items() if verdict is not None})


RED = phase(FAILED)


@pytest.mark.parametrize(
    ("before", "during", "after", "outcome", "why"),
    [
        (phase(), RED, phase(), "noticed", f"{TARGET} failed on {PROMISE!r}, and only while the defect was on"),
        (phase(), phase(), phase(), "missed", f"{TARGET} is passed while the defect is on"),
        (phase(), phase(Verdict.OBSERVED), phase(), "missed", f"{TARGET} is observed while the defect is on"),
        (
            phase(),
            phase(FAILED, expectation="the owner still uses both"),
            phase(),
            "missed",
            f"{TARGET} failed on 'the owner still uses both', not on {PROMISE!r}",
        ),
        (phase(), phase(UNKNOWN), phase(), "unknown", f"{TARGET} could not tell while the defect was on"),
        (phase(), phase(None), phase(), "unknown", f"{TARGET} could not tell while the defect was on"),
        (RED, RED, phase(), "false alarm", f"not green before the defect: {TARGET} failed"),
        (phase(), RED, RED, "false alarm", f"not green after the defect: {TARGET} failed"),
        (phase(neighbour=FAILED), RED, phase(), "false alarm", f"not green before the defect: {NEIGHBOUR} failed"),
        (phase(UNKNOWN), RED, phase(), "unknown", f"not green before the defect: {TARGET} unknown"),
        (phase(), RED, phase(neighbour=None), "noticed", f"{TARGET} failed on {PROMISE!r}"),
        (phase(neighbour=None), RED, phase(), "unknown", f"not green before the defect: {NEIGHBOUR} unknown"),
        (phase(UNKNOWN, FAILED), RED, phase(), "false alarm", "not green before the defect"),
        (phase(), phase(FAILED, FAILED), phase(), "false alarm", f"must stay green but did not: {NEIGHBOUR} failed"),
        (phase(), phase(FAILED, UNKNOWN), phase(), "unknown", f"must stay green but did not: {NEIGHBOUR} unknown"),
        (phase(), phase(FAILED, None), phase(), "unknown", f"must stay green but did not: {NEIGHBOUR} unknown"),
    ],
    ids=[
        "noticed",
        "missed-green",
        "missed-observed",
        "missed-on-another-expectation",
        "could-not-tell",
        "left-no-verdict",
        "red-before",
        "red-after",
        "neighbour-red-before",
        "unknown-before",
        "neighbour-not-asked-after",
        "neighbour-not-reported-before",
        "unknown-and-red-before",
        "neighbour-red-during",
        "neighbour-unknown-during",
        "neighbour-not-reported-during",
    ],
)
def test_what_an_a_b_a_says(before: Phase, during: Phase, after: Phase, outcome: str, why: str) -> None:
    """Only green, red on the named expectation, and green again is noticed; `unknown` is never red."""
    trial = judge(DEFECT, PAIR, before, during, after)
    assert trial.outcome == outcome
    assert trial.why.startswith(why)
    assert trial.runs == ("a", "a", "a")


def test_only_the_same_pairs_verdicts_count() -> None:
    """Red between two other clusters is not noticed here."""
    elsewhere = Phase(Path("a"), {"DISC-04[west-east]": (FAILED, PROMISE), NEIGHBOUR: (PASSED, "")})
    assert judge(DEFECT, PAIR, phase(), elsewhere, phase()).outcome == "unknown"


def test_the_green_after_one_defect_is_the_green_before_the_next() -> None:
    """Each case's last healthy verdict counts, also that of a case which the phase between did not run."""
    merged = module._merged(phase(PASSED, FAILED, name="a"), phase(UNKNOWN, None, name="b"))
    assert (merged.verdict(TARGET), merged.verdict(NEIGHBOUR), merged.folder) == (UNKNOWN, FAILED, Path("b"))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["noticed", "noticed"], 0),
        (["noticed", "missed"], 1),
        (["false alarm"], 1),
        (["unknown", "missed"], 1),
        (["noticed", "unknown"], 11),
    ],
)
def test_the_exit_code_and_the_matrix(tmp_path: Path, outcomes: list[str], code: int) -> None:
    """Missed or false alarm is 1, else anything unknown 11; the matrix holds every trial, readable without us."""
    trials = [
        Trial(f"d{number}", "DISC-04", "east-west", PROMISE, each, "why", ("a", "b"))
        for number, each in enumerate(outcomes)
    ]
    told: list[str] = []
    assert module._conclude(trials, tmp_path, 7, told.append) == code
    document = yaml.safe_load((tmp_path / "prove.yaml").read_text())
    assert [trial["outcome"] for trial in document["trials"]] == outcomes
    assert sum(document["summary"].values()) == len(outcomes)
    assert document["seed"] == 7
    assert "prove.yaml" in told[-1]


def test_every_defect_names_what_there_is() -> None:
    """A defect's requirement, and those it leaves green, are in the catalogue and are not the same."""
    for defect in every():
        assert {defect.requirement, *defect.stays_green} <= set(catalogue())
        assert defect.requirement not in defect.stays_green
        assert defect.expectation


def test_the_fleets_of_prove_offer_what_every_defect_needs() -> None:
    """Without options every defect is tried, on the first fleet that offers its requirement."""
    specs = [fleetfile.load(fleetfile.resolve(name)) for name in FLEETS]
    work, left = module.shared_out(specs, every())
    assert left == []
    assert sorted(defect.name for _, its in work for defect in its) == sorted(defect.name for defect in every())
    assert module.shared_out(specs[:1], every())[1] != []


def test_one_defect_of_each_class_is_drawn_by_a_text() -> None:
    """The same text draws the same defects, one a class; other texts come round to every defect."""
    drawn = rotated(every(), "a1b2c3")
    assert drawn == rotated(every(), "a1b2c3")
    assert sorted(map(class_of, drawn)) == sorted({class_of(defect) for defect in every()})
    met = {defect.name for number in range(200) for defect in rotated(every(), str(number))}
    assert met == {defect.name for defect in every()}


@pytest.mark.parametrize(
    ("models", "name"),
    [("C15 x", "stale backends"), ("C34 cilium/cilium#45109", "wrong merging"), ("C88", "drops on failover"),
     ("M34", "other"), ("C107", "other")],
)  # fmt: skip
def test_a_defect_is_of_the_class_its_bug_is_in(models: str, name: str) -> None:
    """The first number in `models` decides; without one, or behind the last class, it is another."""
    assert class_of(replace(DEFECT, models=models)) == name


# --- whose fleet it is ---------------------------------------------------------------------------------------------


@pytest.fixture
def spec() -> FleetSpec:
    return fleetfile.load(fleetfile.FLEETS / "two.yaml")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeProvider:
    fake = FakeProvider()
    fake.fleets = tmp_path
    fake.asked = []
    monkeypatch.setattr(module, "provider_of", lambda spec: fake)
    return fake


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Runner]:
    """The runners that trials were made with; every trial is noticed."""
    seen: list[Runner] = []

    def try_all(fleet: object, chosen: list[Defect], runner: Runner, progress: Progress) -> list[Trial]:
        seen.append(runner)
        return [
            Trial(each.name, each.requirement, "east-west", each.expectation, "noticed", "why", ()) for each in chosen
        ]

    monkeypatch.setattr(module, "_try_all", try_all)
    return seen


def quiet(line: str) -> None:
    """Progress that nobody reads."""


def test_an_unknown_defect_is_refused_before_anything_is_done(
    provider: FakeProvider, spec: FleetSpec, tmp_path: Path
) -> None:
    """A defect's name that does not exist is told with those that do, and no fleet is touched."""
    with pytest.raises(EnvironmentUnfit, match=r"unknown defect no-such-thing; known: .*shared_ignored"):
        prove([spec], ["shared_ignored", "no-such-thing"], 7, tmp_path / "runs", quiet)
    assert provider.asked == []
    assert not (tmp_path / "runs").exists()


def test_another_mesh_has_no_defects_of_ours(provider: FakeProvider, spec: FleetSpec, tmp_path: Path) -> None:
    """Defects are the reference mesh's; any other is refused before anything is done."""
    with pytest.raises(EnvironmentUnfit, match="this fleet's mesh is 'cilium'"):
        prove([replace(spec, mesh="cilium")], [], 7, tmp_path, quiet)
    assert provider.asked == []


@pytest.mark.parametrize(
    ("phase", "asked"),
    [("absent", ["up", "down two"]), ("dead", ["up", "down two"]), ("starting", ["up"]), ("ready", ["up"])],
)
def test_the_fleet_is_left_as_it_was_found(
    provider: FakeProvider, tried: list[Runner], spec: FleetSpec, tmp_path: Path, phase: str, asked: list[str]
) -> None:
    """A fleet that was not up is taken down afterwards; one that was, or was coming up, is somebody else's."""
    provider.phase = phase
    assert prove([spec], ["shared_ignored"], 7, tmp_path, quiet) == 0
    assert provider.asked == asked


def test_when_nothing_was_tried_nothing_is_known(tmp_path: Path) -> None:
    """No named fleet offers what any of the drawn defects needs: no error of anybody, and not green."""
    trial = Trial("a", "DISC-01", "", "it holds", "not tried", "no fleet", ())
    assert _conclude([trial], tmp_path, 7, quiet) == 11
    assert _conclude([trial, replace(trial, outcome="noticed")], tmp_path, 7, quiet) == 0


def test_a_fleet_that_up_refused_is_not_taken_down(
    provider: FakeProvider, tried: list[Runner], spec: FleetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When `up` refuses, because one of another file has the name, that one stays."""

    def refuse(spec: FleetSpec, progress: Progress) -> None:
        raise EnvironmentUnfit("already up from another fleet file")

    monkeypatch.setattr(provider, "up", refuse, raising=False)
    with pytest.raises(EnvironmentUnfit, match="another fleet file"):
        prove([spec], [], 7, tmp_path, quiet)
    assert provider.asked == []


def test_a_fleet_is_taken_down_also_when_the_trials_break(
    provider: FakeProvider, spec: FleetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the trials, the fleet that was brought up for them goes."""

    def broken(*arguments: object) -> list[Trial]:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_try_all", broken)
    with pytest.raises(KeyboardInterrupt):
        prove([spec], [], 7, tmp_path, quiet)
    assert provider.asked == ["up", "down two"]


def test_a_seed_chooses_the_pair(provider: FakeProvider, tried: list[Runner], spec: FleetSpec, tmp_path: Path) -> None:
    """The same seed tries the same pair, and different seeds try different ones."""
    for number, seed in enumerate([1, 1, *range(2, 12)]):
        prove([spec], ["shared_ignored"], seed, tmp_path / str(number), quiet)
    pairs = [runner.pair for runner in tried]
    assert pairs[0] == pairs[1]
    assert set(pairs) == {"[east-west]", "[west-east]"}


# --- phases --------------------------------------------------------------------------------------------------------


class Paper:
    """A pytest that leaves nothing behind; it ends by itself, or has to be ended."""

    def __init__(self, endless: bool = False) -> None:
        self.endless, self.killed = endless, 0

    def wait(self, seconds: float | None = None) -> int:
        if self.endless and not self.killed:
            raise subprocess.TimeoutExpired("pytest", seconds or 0.0)
        return 0

    def kill(self) -> None:
        self.killed += 1


@pytest.mark.parametrize("endless", [False, True], ids=["ends with nothing", "ends by the time limit"])
def test_a_phase_that_left_no_run_has_no_verdict(
    spec: FleetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endless: bool
) -> None:
    """A run that never began, or had to be ended, makes its cases unknown; it does not end the proof."""
    commands: list[list[str]] = []
    process = Paper(endless)

    def popen(command: list[str], **options: Any) -> Paper:
        commands.append(command)
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    told: list[str] = []
    runner = Runner(spec, tmp_path, 7, PAIR, told.append)
    found = runner.finish(runner.start(Step("1-a-defect", ("DISC-04", "DISC-01"), ("a-defect",))))
    assert (found.verdict(TARGET), found.verdict(NEIGHBOUR)) == (UNKNOWN, UNKNOWN)
    assert any("was ended after" in line for line in told) == endless
    assert bool(process.killed) is endless
    [command] = commands
    assert command[command.index("-k") + 1] == f"{TARGET} or {NEIGHBOUR}"
    assert command[command.index("--expect-defects") + 1] == "a-defect"
    assert command[command.index("--seed") + 1] == "7"


class Diary:
    """A runner and a mesh that write down what they are told, in order."""

    def __init__(self, breaks: str = "") -> None:
        self.told: list[str] = []
        self.breaks = breaks

    def switch(self, active: Sequence[str]) -> None:
        self.told.append(f"on: {', '.join(active)}")

    def start(self, step: Step) -> Any:
        self.told.append(f"start {step.name}")
        return SimpleNamespace(name=step.name, end=lambda: self.told.append(f"end {step.name}"))

    def finish(self, held: Any) -> Phase:
        self.told.append(f"run {held.name}")
        if held.name == self.breaks:
            raise KeyboardInterrupt
        return Phase(Path(held.name), {})


STEPS = [Step("green", ()), Step("red", (), ("a",)), Step("again", ())]


def test_the_next_phase_comes_up_while_one_runs() -> None:
    """Each is started before the one before it runs, and runs with its own defects on; at the end none is."""
    diary: Any = Diary()
    assert [phase.folder.name for phase in run_all(diary, STEPS, diary.switch)] == ["green", "red", "again"]
    assert diary.told == [
        *("on: ", "start green", "on: ", "start red", "run green"),
        *("on: a", "start again", "run red", "on: ", "run again", "on: "),
    ]


def test_what_was_started_is_ended_when_a_phase_breaks() -> None:
    """The one that runs and the one that waits are ended, and the mesh is healthy again."""
    diary: Any = Diary(breaks="red")
    with pytest.raises(KeyboardInterrupt):
        list(run_all(diary, STEPS, diary.switch))
    assert diary.told[-4:] == ["run red", "end red", "end again", "on: "]


def test_every_phase_is_green_alone_or_has_one_defect_on() -> None:
    """Of nine defects: green, eight of them, green, the ninth, green."""
    nine = [replace(DEFECT, name=f"d{n}") for n in range(1, 10)]
    steps = module._steps([nine[:8], nine[8:]])
    assert [step.name for step in steps] == [
        *("0-healthy", *(f"{n}-d{n}" for n in range(1, 9)), "8-healthy-again", "9-d9", "9-healthy-again")
    ]
    assert [step.active for step in steps if "healthy" not in step.name] == [(f"d{n}",) for n in range(1, 10)]
    assert steps[0].requirements == ("DISC-01", "DISC-04")
    assert steps[-1].requirements == ("DISC-04",)
