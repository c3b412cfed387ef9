"""Mutation testing of the suite: each defect of the reference mesh must be noticed, and by the right requirement.

A/B/A in one fleet: green without the defect, red with it, green again (once for a few defects). *Red* means the verdict
`failed` on the expectation the defect names; `unknown` is not red here, because a suite that only
shrugs has noticed nothing. The requirements a defect says stay green are checked before it, and once
while it is on. All of it over one seeded pair of clusters. A requirement may need a profile or a number of clusters of
its own, so several fleets may be named: each defect is tried on the first that offers its requirement.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from meshproof.cli.exits import undisturbed
from meshproof.cli.run import PYTEST, named_by, typed
from meshproof.clusters.fleet import EnvironmentUnfit, Fleet, FleetSpec, Progress
from meshproof.clusters.meshes.choice import reference_mesh_of
from meshproof.clusters.meshes.reference.defects import Defect, UnknownDefect, every, named
from meshproof.clusters.meshes.reference.mesh import ReferenceMesh
from meshproof.clusters.providers import provider_of
from meshproof.fixtures import checkers, history, results
from meshproof.fixtures.fleetlock import mesh_alone
from meshproof.fixtures.rundir import refuse_unwritable, stamp
from meshproof.fixtures.support import reason_for
from meshproof.fixtures.verdicts import Verdict
from meshproof.rotation import rotated

_GREEN = (Verdict.PASSED, Verdict.OBSERVED)
TOGGLE_SECONDS_MAX = 30.0
PHASE_SECONDS_MAX = 600.0
DEFECTS_BETWEEN_GREENS = 8
"""One after another, each alone. What one of them leaves behind is seen at the latest when their cases run again."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One defect's A/B/A. `outcome` is one of OUTCOMES; `why` is one sentence."""

    defect: str
    requirement: str
    pair: str
    expectation: str
    outcome: str
    why: str
    runs: tuple[str, ...]
    """Run folders of before, during and after."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One run of some cases: case id -> (verdict, the expectation that decided it)."""

    folder: Path
    verdicts: dict[str, tuple[Verdict, str]]

    def not_passed(self, cases: Iterable[str]) -> list[str]:
        return [f"{case} {self._of(case)[0]}" for case in cases if self._of(case)[0] not in _GREEN]

    def _of(self, case: str) -> tuple[Verdict, str]:
        return self.verdicts.get(case, (Verdict.UNKNOWN, ""))

    def verdict(self, case: str) -> Verdict:
        return self._of(case)[0]

    def expectation(self, case: str) -> str:
        return self._of(case)[1]


def prove(
    specs: Sequence[FleetSpec], names: Sequence[str], seed: int, runs: Path, progress: Progress, rotate: str = ""
) -> int:
    """Try the named defects (all when empty). Exit code: 0 all noticed, 1 missed or false alarm, 11 could not tell.

    `rotate`, such as a commit, chooses one defect of each class instead, always the same for the same text.
    Brings the fleets up one after another, each that is not up, and then takes it down again. Raises EnvironmentUnfit.
    """
    chosen = rotated(_chosen(names), rotate) if rotate else _chosen(names)
    for spec in specs:
        reference_mesh_of(spec)
        if spec.lent:
            raise EnvironmentUnfit(
                f"{spec.source}: prove breaks the mesh on purpose; these clusters are somebody else's"
            )
    refuse_unwritable(runs)
    folder = runs / f"{stamp(datetime.now(UTC))}-prove"
    folder.mkdir(mode=0o700, parents=True)
    work, left = shared_out(specs, chosen)
    if left and names:
        told = ", ".join(f"{defect.name} ({defect.requirement})" for defect in left)
        raise EnvironmentUnfit(f"no fleet of {', '.join(spec.name for spec in specs)} offers what they need: {told}")
    trials = [
        Trial(d.name, d.requirement, "", d.expectation, "not tried", "no named fleet offers its requirement", ())
        for d in left
    ]
    for spec, its in work:
        trials += _prove_on(spec, its, seed, folder / spec.name, progress)
    return _conclude(trials, folder, seed, print)


def shared_out(
    specs: Sequence[FleetSpec], chosen: Sequence[Defect]
) -> tuple[list[tuple[FleetSpec, list[Defect]]], list[Defect]]:
    """Each fleet with the defects tried on it, the first that offers their requirement, and those that none offers."""
    its: dict[str, list[Defect]] = {spec.name: [] for spec in specs}
    left: list[Defect] = []
    for defect in chosen:
        able = next((spec for spec in specs if _offers(spec, defect.requirement)), None)
        (left if able is None else its[able.name]).append(defect)
    return [(spec, its[spec.name]) for spec in specs if its[spec.name]], left


def _offers(spec: FleetSpec, requirement: str) -> bool:
    return (
        reason_for(
            requirement, provider=spec.provider, mesh=spec.mesh, profile=spec.profile, clusters=len(spec.clusters)
        )
        is None
    )


def _prove_on(spec: FleetSpec, chosen: Sequence[Defect], seed: int, folder: Path, progress: Progress) -> list[Trial]:
    provider = provider_of(spec)
    # As for a run: a fleet that is up or coming up is somebody else's, and `up` refuses one of another file.
    lent = provider.status(spec.name).phase in {"starting", "ready"}
    fleet = provider.up(spec, progress)  # ends in nothing, or in a fleet that is up
    try:
        near, far = random.Random(seed).choice([(near.name, far.name) for near, far in fleet.pairs()])
        folder.mkdir(mode=0o700, parents=True)
        progress(f"{len(chosen)} defects on {spec.name}, {near}→{far}, seed {seed}")
        with mesh_alone(fleet, progress):
            return _try_all(fleet, chosen, Runner(spec, folder, seed, f"[{near}-{far}]", progress), progress)
    finally:
        if not lent:
            with undisturbed():
                provider.down(spec.name, progress)


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs cases of the suite by the same command a person would, and reads what they left."""

    spec: FleetSpec
    folder: Path
    seed: int
    pair: str
    progress: Progress

    def offers(self, requirement: str) -> bool:
        return _offers(self.spec, requirement)

    def run(self, name: str, requirements: Iterable[str], active: Sequence[str]) -> Phase:
        cases = [requirement + self.pair for requirement in requirements if self.offers(requirement)]
        folder = self.folder / name
        self.progress(f"  {name}: {len(cases)} {'case' if len(cases) == 1 else 'cases'}")
        command = [*PYTEST, "-q", str(Path(__file__).parent / "conformance")]
        command += ["--fleet", str(self.spec.source), "--seed", str(self.seed), "--runs-dir", str(folder)]
        command += ["--leave-going"]  # the next phase has namespaces of its own, and the fleet goes at the end
        command += ["-k", " or ".join(cases), "--rerun-command", typed(["--fleet", named_by(self.spec)], active)]
        command += ["--expect-defects", ",".join(active)]
        with open(self.folder / f"{name}.log", "w") as log:
            try:
                subprocess.run(command, stdout=log, stderr=log, timeout=PHASE_SECONDS_MAX, check=False)
            except subprocess.TimeoutExpired:
                # What it had judged counts; every other case is unknown.
                self.progress(f"  {name} was ended after {PHASE_SECONDS_MAX:.0f} s; see {self.folder / name}.log")
        latest = (folder / "latest").resolve()
        if not latest.is_dir():
            return Phase(folder, {})
        run = results.load(latest)
        chosen = [case for case in run.cases if case.id in cases]
        return Phase(latest, {case.id: (case.verdict, _decided_by(latest, case)) for case in chosen})


def _decided_by(folder: Path, case: results.CaseResult) -> str:
    if case.history is None:
        return ""
    try:
        return checkers.check(history.load(folder / case.history)).expectation
    except history.HistoryDamaged:
        return ""


def _chosen(names: Sequence[str]) -> list[Defect]:
    try:
        return list(named(names) if names else every())
    except UnknownDefect as error:
        raise EnvironmentUnfit(str(error)) from error


def _try_all(fleet: Fleet, chosen: Sequence[Defect], runner: Runner, progress: Progress) -> list[Trial]:
    mesh = reference_mesh_of(fleet.spec)
    mesh.set_defects(fleet, [], TOGGLE_SECONDS_MAX)
    touched = sorted({entry for defect in chosen for entry in (defect.requirement, *defect.stays_green)})
    before = runner.run("0-healthy", touched, [])
    trials: list[Trial] = []
    for first in range(0, len(chosen), DEFECTS_BETWEEN_GREENS):
        batch = chosen[first : first + DEFECTS_BETWEEN_GREENS]
        during = _with_each(mesh, fleet, runner, first, batch)
        again = f"{first + len(batch)}-healthy-again"
        after = runner.run(again, sorted({defect.requirement for defect in batch}), [])
        for defect, phase in zip(batch, during, strict=True):
            trial = judge(defect, runner.pair, before, phase, after, runner.offers)
            trials.append(trial)
            progress(f"{len(trials)}/{len(chosen)} {trial.outcome.upper()}: {defect.name} – {trial.why}")
        before = _merged(before, after)
    return trials


def _with_each(mesh: ReferenceMesh, fleet: Fleet, runner: Runner, done: int, batch: Sequence[Defect]) -> list[Phase]:
    """What was found with each of these defects on, and no other: one is switched off as the next comes on."""
    try:
        phases = []
        for number, defect in enumerate(batch, start=done + 1):
            mesh.set_defects(fleet, [defect.name], TOGGLE_SECONDS_MAX)
            asked = [defect.requirement, *defect.stays_green]
            phases.append(runner.run(f"{number}-{defect.name}", asked, [defect.name]))
        return phases
    finally:
        mesh.set_defects(fleet, [], TOGGLE_SECONDS_MAX)


def _merged(earlier: Phase, later: Phase) -> Phase:
    """The last healthy verdict of each case: an A after one defect is the A before the next."""
    return Phase(later.folder, {**earlier.verdicts, **later.verdicts})


def judge(
    defect: Defect,
    pair: str,
    before: Phase,
    during: Phase,
    after: Phase,
    offered: Callable[[str], bool] = lambda _: True,
) -> Trial:
    """What an A/B/A says of one defect; of what stays green, only what this fleet offers counts. Pure."""
    target = defect.requirement + pair
    cases = [target, *(requirement + pair for requirement in defect.stays_green if offered(requirement))]
    outcome, why = _outcome(defect, target, cases, before, during, after)
    folders = tuple(str(phase.folder) for phase in (before, during, after))
    return Trial(defect.name, defect.requirement, pair.strip("[]"), defect.expectation, outcome, why, folders)


def _outcome(
    defect: Defect, target: str, cases: list[str], before: Phase, during: Phase, after: Phase
) -> tuple[str, str]:
    for name, phase, due in (("before", before, cases), ("after", after, cases[:1])):
        if red := phase.not_passed(due):
            alarm = any(phase.verdict(case) is Verdict.FAILED for case in due)
            return "false alarm" if alarm else "unknown", f"not green {name} the defect: {', '.join(red)}"
    verdict, expectation = during.verdict(target), during.expectation(target)
    if verdict is Verdict.UNKNOWN:
        return "unknown", f"{target} could not tell while the defect was on"
    if verdict is not Verdict.FAILED:
        return "missed", f"{target} is {verdict} while the defect is on"
    if expectation != defect.expectation:
        return "missed", f"{target} failed on {expectation!r}, not on {defect.expectation!r}"
    if red := during.not_passed(cases[1:]):
        alarm = any(during.verdict(case) is Verdict.FAILED for case in cases[1:])
        return "false alarm" if alarm else "unknown", f"must stay green but did not: {', '.join(red)}"
    return "noticed", f"{target} failed on {expectation!r}, and only while the defect was on"


def _conclude(trials: Sequence[Trial], folder: Path, seed: int, say: Callable[[str], None]) -> int:
    counts = {outcome: sum(trial.outcome == outcome for trial in trials) for outcome in OUTCOMES}
    document = {
        "apiVersion": "meshproof.dev/v1alpha1",
        "kind": "DefectMatrix",
        "mesh": str(ReferenceMesh().identity()),
        "seed": seed,
        "summary": counts,
        "trials": [{**asdict(trial), "runs": list(trial.runs)} for trial in trials],
    }
    path = folder / "prove.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    say("")
    for trial in trials:
        say(f"{trial.outcome:<12} {trial.requirement:<8} {trial.defect:<28} {trial.why}")
    say(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + f" – {path}")
    if counts["missed"] or counts["false alarm"]:
        return 1
    nothing = bool(trials) and counts["not tried"] == len(trials)
    return 11 if counts["unknown"] or nothing else 0


OUTCOMES = ("noticed", "missed", "false alarm", "unknown", "not tried")
