"""Judge a stored run again, from its histories alone, and say where that differs from what was stored.

No fleet is needed and nothing is written. A verdict that was made from a history must come out the same, and so must
what was measured. A case may also be `unknown` for a reason that no history holds, such as a fixture that broke: where
its history then says something else, or there is none, it is listed as not recomputed, with its stored reason. Cases
that were never judged from traffic (unsupported, not built, excluded) have nothing to recompute and are only counted.

Limits: this shows that verdict and history belong together, not that the history is true; there is no signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.fixtures.checkers import check, measured
from meshproof.fixtures.history import HistoryDamaged
from meshproof.fixtures.history import load as load_history
from meshproof.fixtures.results import RUN_FILE, CaseResult
from meshproof.fixtures.results import load as load_results
from meshproof.fixtures.verdicts import Verdict
from meshproof.report.page import paragraph, plain, printable

AGREE, DIFFER, CANNOT_TELL = 0, 1, 11
"""Exit codes, as for a run: something is wrong beats something is not known."""

HISTORY_FILE = "history.jsonl"
_NOT_FROM_TRAFFIC = (Verdict.UNSUPPORTED, Verdict.NOT_BUILT, Verdict.EXCLUDED)


class Comparison(StrEnum):
    """How a case came out; the value is the word in the table's last column."""

    SAME = "same"
    DIFFERENT = "DIFFERENT"
    NOT_RECOMPUTED = "NOT RECOMPUTED"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One case judged again. `stored` and `recomputed` are verdicts, or "-" where there is none."""

    id: str
    stored: str
    recomputed: str
    comparison: Comparison
    why: str
    """One sentence when it is not the same, or the same for another reason; empty otherwise."""


def replay_verdicts(run: Path, out: TextIO) -> int:
    """Recompute every verdict below `run`, a run directory, the folder of one case, or its history file; print a table.

    Returns 0 when all agree, 1 when any differs, 11 when any could not be recomputed or compared.
    Raises EnvironmentUnfit (exit 10) when there is neither a run nor a history.
    """
    folder = run.parent if run.is_file() else run
    run_dir = next((place for place in (folder, *folder.absolute().parents) if (place / RUN_FILE).is_file()), None)
    if run_dir is None:
        return _lone_history(folder, out)
    result = load_results(run_dir)
    inside = folder.resolve()
    chosen = tuple(case for case in result.cases if run_dir == folder or _lies_in(case, run_dir, inside))
    if run_dir != folder and not chosen:
        raise EnvironmentUnfit(f"{run} holds no case of the run in {run_dir}")
    judged = [case for case in chosen if case.verdict not in _NOT_FROM_TRAFFIC]
    found = [replay_case(run_dir, case) for case in judged]
    if run_dir == folder:
        found += [_not_recomputed(missing, "-", "it was planned and never reported") for missing in result.unreported()]
    out.write(printable(f"verdicts of {run_dir} recomputed from its histories; mesh under test: {result.mesh}") + "\n")
    _print_table(found, out)
    if passed_over := len(chosen) - len(judged):
        out.write(f"{passed_over} more were not judged from traffic (unsupported, not built or excluded)\n")
    return _exit(found)


def replay_case(run_dir: Path, case: CaseResult) -> Replayed:
    """Judge one stored case again."""
    stored = case.verdict.value
    if case.history is None:
        return _not_recomputed(case.id, stored, f"no history was recorded; the stored reason is: {case.reason}")
    path = run_dir / case.history
    if not path.resolve().is_relative_to(run_dir.resolve()):
        return _not_recomputed(case.id, stored, f"its history {case.history} lies outside the run")
    try:
        history = load_history(path)
    except (HistoryDamaged, OSError) as error:
        return _not_recomputed(case.id, stored, f"its history is damaged or missing: {error}")
    if history.case.id != case.id:
        return _not_recomputed(case.id, stored, f"{case.history} is the history of {history.case.id}")
    judgement = check(history)
    again = judgement.verdict.value
    if judgement.verdict is case.verdict:
        if case.history_sha256 not in ("", hashlib.sha256(path.read_bytes()).hexdigest()):
            return _not_recomputed(case.id, stored, f"{case.history} is not the file its verdict was made from")
        if bent := _bent_values(case, measured(history)):
            return Replayed(case.id, stored, again, Comparison.DIFFERENT, bent)
        elsewhere = f"for another reason; stored: {case.reason}; of the history alone: {judgement.reason}"
        return Replayed(case.id, stored, again, Comparison.SAME, "" if case.reason == judgement.reason else elsewhere)
    if case.verdict is Verdict.UNKNOWN:
        # Nothing tells a harness that broke outside the history from a history that was changed: agree to neither.
        why = f"the history alone says {again}; it was changed, or the stored reason lies outside it: {case.reason}"
        return Replayed(case.id, stored, again, Comparison.NOT_RECOMPUTED, why)
    why = f"stored: {case.reason or '(no reason)'}; recomputed: {judgement.reason or '(no reason)'}"
    return Replayed(case.id, stored, again, Comparison.DIFFERENT, why)


def _lone_history(folder: Path, out: TextIO) -> int:
    """A history that came without its run, as in a bug report: there is a verdict, and nothing to compare it with."""
    path = folder / HISTORY_FILE
    if not path.is_file():
        raise EnvironmentUnfit(
            f"{folder} is neither a run nor a case of one: it has no {RUN_FILE} and no {HISTORY_FILE}"
        )
    try:
        history = load_history(path)
    except HistoryDamaged as error:
        _print_table([_not_recomputed(str(path), "-", f"its history is damaged: {error}")], out)
        return CANNOT_TELL
    judgement = check(history)
    why = f"no run lies around it, so there is no stored verdict to compare with; {judgement.reason}"
    _print_table([Replayed(history.case.id, "-", judgement.verdict.value, Comparison.NOT_RECOMPUTED, why)], out)
    return CANNOT_TELL


def _bent_values(case: CaseResult, again: Mapping[str, float | str]) -> str:
    """Which stored measurement the history does not bear out, in words; what it does not tell of is left alone."""
    for name, value in case.observed.items():
        if name in again and again[name] != value:
            return f"{name}: stored {value}, recomputed {again[name]}"
    return ""


def _lies_in(case: CaseResult, run_dir: Path, folder: Path) -> bool:
    return case.history is not None and (run_dir / case.history).resolve().is_relative_to(folder)


def _not_recomputed(case_id: str, stored: str, why: str) -> Replayed:
    return Replayed(case_id, stored, "-", Comparison.NOT_RECOMPUTED, why)


def _exit(found: Iterable[Replayed]) -> int:
    outcomes = {each.comparison for each in found}
    if Comparison.DIFFERENT in outcomes:
        return DIFFER
    return CANNOT_TELL if Comparison.NOT_RECOMPUTED in outcomes or not outcomes else AGREE


def _print_table(found: list[Replayed], out: TextIO) -> None:
    first = max([len("case"), *(len(each.id) for each in found)]) + 2
    out.write(f"{'case':{first}}{'stored':13}{'recomputed':13}same?\n")
    for each in found:
        out.write(printable(f"{each.id:{first}}{each.stored:13}{each.recomputed:13}{each.comparison.value}") + "\n")
        if each.why:
            for shown in paragraph(each.why, "    "):
                out.write(plain(shown) + "\n")
    counts = {kind: sum(each.comparison is kind for each in found) for kind in Comparison}
    total = ", ".join(f"{count} {kind.value.lower()}" for kind, count in counts.items() if count)
    out.write((total or "no case to recompute") + "\n")
