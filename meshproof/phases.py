"""The phases of a proof: some cases of the suite, run by the command a person would type, and what came of them.

A phase is started before its turn: the pods that ask come up while the one before it runs, its cases begin at a word.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshproof.cli.exits import undisturbed
from meshproof.cli.run import PYTEST, named_by, typed
from meshproof.clusters.fleet import FleetSpec, Progress
from meshproof.fixtures import checkers, history, results
from meshproof.fixtures.support import reason_for
from meshproof.fixtures.verdicts import Verdict

_GREEN = (Verdict.PASSED, Verdict.OBSERVED)
PHASE_SECONDS_MAX = 600.0
TIDY_SECONDS_MAX = 10.0


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


@dataclass(frozen=True, slots=True)
class Step:
    """A phase to come: the requirements it asks, and the defects that are on meanwhile."""

    name: str
    requirements: tuple[str, ...]
    active: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """A phase that has been started and waits for the word to begin."""

    name: str
    cases: tuple[str, ...]
    folder: Path
    process: subprocess.Popen[bytes]
    word: int
    """An open file: a byte is the word."""

    def end(self) -> None:
        """Whatever it was doing; one that waits for the word tidies up when there will be none."""
        with suppress(OSError):
            os.close(self.word)
        try:
            self.process.wait(TIDY_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs cases of the suite by the same command a person would, and reads what they left."""

    spec: FleetSpec
    folder: Path
    seed: int
    pair: str
    progress: Progress

    def offers(self, requirement: str) -> bool:
        return offers(self.spec, requirement)

    def start(self, step: Step) -> Held:
        """Have its pods come up; the mesh may still be another phase's."""
        cases = [requirement + self.pair for requirement in step.requirements if self.offers(requirement)]
        folder, active = self.folder / step.name, ",".join(step.active)
        held, word = os.pipe()
        command = [*PYTEST, "-q", str(Path(__file__).parent / "conformance")]
        command += ["--fleet", str(self.spec.source), "--seed", str(self.seed), "--runs-dir", str(folder)]
        command += ["--leave-going"]  # the next phase has namespaces of its own, and the fleet goes at the end
        command += ["-k", " or ".join(cases), "--rerun-command", typed(["--fleet", named_by(self.spec)], step.active)]
        command += ["--expect-defects", active, "--hold", str(held)]
        with open(self.folder / f"{step.name}.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[held])
        os.close(held)
        return Held(step.name, tuple(cases), folder, process, word)

    def finish(self, held: Held) -> Phase:
        """Have its cases run, and read what they left."""
        number = len(held.cases)
        self.progress(f"  {held.name}: {number} {'case' if number == 1 else 'cases'}")
        with suppress(BrokenPipeError):  # it has ended already; what it left tells why
            os.write(held.word, b".")
        try:
            held.process.wait(PHASE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            # What it had judged counts; every other case is unknown.
            self.progress(f"  {held.name} was ended after {PHASE_SECONDS_MAX:.0f} s; see {self.folder / held.name}.log")
        held.end()
        latest = (held.folder / "latest").resolve()
        if not latest.is_dir():
            return Phase(held.folder, {})
        run = results.load(latest)
        chosen = [case for case in run.cases if case.id in held.cases]
        return Phase(latest, {case.id: (case.verdict, _decided_by(latest, case)) for case in chosen})


def _decided_by(folder: Path, case: results.CaseResult) -> str:
    if case.history is None:
        return ""
    try:
        return checkers.check(history.load(folder / case.history)).expectation
    except history.HistoryDamaged:
        return ""


def run_all(runner: Runner, steps: Sequence[Step], switch: Callable[[Sequence[str]], None]) -> Generator[Phase]:
    """One after the other, each begun with its defects on; the next one's pods come up while one runs."""
    held: list[Held] = []
    try:
        switch([])
        held.append(runner.start(steps[0]))
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            switch(step.active)
            if following is not None:
                held.append(runner.start(following))
            phase = runner.finish(held[0])
            held.pop(0)
            yield phase
    finally:
        with undisturbed():
            for each in held:
                each.end()
            switch([])


def offers(spec: FleetSpec, requirement: str) -> bool:
    return (
        reason_for(
            requirement, provider=spec.provider, mesh=spec.mesh, profile=spec.profile, clusters=len(spec.clusters)
        )
        is None
    )
