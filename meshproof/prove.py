"""Mutation testing of the suite: each defect of the reference mesh must be noticed, and by the right requirement.

A/B/A in one fleet: green without the defect, red with it, green again (once for a few defects). *Red* means the verdict
`failed` on the expectation the defect names; `unknown` is not red here, because a suite that only
shrugs has noticed nothing. The requirements a defect says stay green are checked before it, and once
while it is on. All of it over one seeded pair of clusters. A requirement may need a profile or a number of clusters of
its own, so several fleets may be named: each defect is tried on the first that offers its requirement.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from meshproof.cli.exits import undisturbed
from meshproof.clusters.fleet import EnvironmentUnfit, Fleet, FleetSpec, Progress
from meshproof.clusters.meshes.choice import reference_mesh_of
from meshproof.clusters.meshes.reference.defects import Defect, UnknownDefect, every, named
from meshproof.clusters.meshes.reference.mesh import ReferenceMesh
from meshproof.clusters.providers import provider_of
from meshproof.fixtures.fleetlock import mesh_alone
from meshproof.fixtures.rundir import refuse_unwritable, stamp
from meshproof.fixtures.verdicts import Verdict
from meshproof.phases import Phase, Runner, Step, offers, run_all
from meshproof.rotation import rotated

TOGGLE_SECONDS_MAX = 30.0
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
        able = next((spec for spec in specs if offers(spec, defect.requirement)), None)
        (left if able is None else its[able.name]).append(defect)
    return [(spec, its[spec.name]) for spec in specs if its[spec.name]], left


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


def _chosen(names: Sequence[str]) -> list[Defect]:
    try:
        return list(named(names) if names else every())
    except UnknownDefect as error:
        raise EnvironmentUnfit(str(error)) from error


def _try_all(fleet: Fleet, chosen: Sequence[Defect], runner: Runner, progress: Progress) -> list[Trial]:
    mesh = reference_mesh_of(fleet.spec)

    def switch(active: Sequence[str]) -> None:
        mesh.set_defects(fleet, active, TOGGLE_SECONDS_MAX)

    batches = [chosen[at : at + DEFECTS_BETWEEN_GREENS] for at in range(0, len(chosen), DEFECTS_BETWEEN_GREENS)]
    trials: list[Trial] = []
    with closing(run_all(runner, _steps(batches), switch)) as phases:
        before = next(phases)
        for batch in batches:
            during = [next(phases) for _ in batch]
            after = next(phases)
            for defect, phase in zip(batch, during, strict=True):
                trial = judge(defect, runner.pair, before, phase, after, runner.offers)
                trials.append(trial)
                progress(f"{len(trials)}/{len(chosen)} {trial.outcome.upper()}: {defect.name} – {trial.why}")
            before = _merged(before, after)
    return trials


def _steps(batches: Sequence[Sequence[Defect]]) -> list[Step]:
    """Green, then batch by batch each of its defects, with no other on, and green again."""
    touched = {entry for batch in batches for each in batch for entry in (each.requirement, *each.stays_green)}
    steps, done = [Step("0-healthy", tuple(sorted(touched)))], 0
    for batch in batches:
        for number, each in enumerate(batch, start=done + 1):
            steps.append(Step(f"{number}-{each.name}", (each.requirement, *each.stays_green), (each.name,)))
        done += len(batch)
        steps.append(Step(f"{done}-healthy-again", tuple(sorted({each.requirement for each in batch}))))
    return steps


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
