"""A run as every report shows it: in planned order, without secrets, and with a line for each case that never reported.

All writers start from a `View`, so they cannot disagree about what is red. A planned case without a
result is shown as `unknown`; it is added here and nowhere stored.

Limits: the redaction is a net under our own care, not a licence: messages are ours and no secret should reach them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from meshproof.fixtures.requirements import catalogue
from meshproof.fixtures.results import CaseResult, RunResult, fleet_facts, unjudged
from meshproof.fixtures.verdicts import Verdict

WORST_FIRST = (
    Verdict.FAILED,
    Verdict.UNKNOWN,
    Verdict.UNSUPPORTED,
    Verdict.NOT_BUILT,
    Verdict.EXCLUDED,
    Verdict.OBSERVED,
    Verdict.PASSED,
)
"""How a cell that stands for several cases gets one verdict."""

RED = (Verdict.FAILED, Verdict.UNKNOWN)
UNJUDGED = (Verdict.NOT_BUILT, Verdict.EXCLUDED)
"""Listed, but nothing ran for them; they are in no matrix and no total."""

NEVER_REPORTED = "planned, but never reported: the run or its worker ended first"

_PYTEST_EXITS = {2: "INTERRUPTED", 3: "INTERNAL ERROR", 4: "USAGE ERROR", 10: "UNFIT ENVIRONMENT"}

_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|(?<=[Bb]earer )[\w.~+/=-]{8,}"
    r"|\b(?:client-key-data|client-certificate-data|certificate-authority-data|token|password)['\"]?\s*[:=]\s*['\"]?[^\s'\"]{8,}",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class View:
    """What every writer is given."""

    run: RunResult
    """Redacted, its cases in planned order, the missing ones added."""
    unreported: tuple[str, ...]
    """Ids of the cases that were added."""
    unplanned: tuple[str, ...]
    """Ids with a result that were not in the plan."""

    def clusters(self) -> tuple[str, ...]:
        return tuple(str(cluster["name"]) for cluster in self.run.fleet["clusters"])

    def judged(self) -> tuple[CaseResult, ...]:
        """The cases of requirements that the suite has and the user wanted."""
        return tuple(case for case in self.run.cases if case.verdict not in UNJUDGED)

    def of(self, *verdicts: Verdict) -> tuple[CaseResult, ...]:
        return tuple(case for case in self.run.cases if case.verdict in verdicts)

    def counts(self) -> Mapping[Verdict, int]:
        """Every verdict, also those nobody got."""
        found = Counter(case.verdict for case in self.run.cases)
        return {verdict: found[verdict] for verdict in Verdict}

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every ordered pair of the fleet in fleet order, then any that only a case knows."""
        names = self.clusters()
        known = [(near, far) for near in names for far in names if near != far]
        return tuple(dict.fromkeys([*known, *(case.pair for case in self.run.cases if case.pair)]))


def view(run: RunResult) -> View:
    """Redact, order, and add what is missing."""
    names = [str(cluster["name"]) for cluster in fleet_facts(run.fleet)["clusters"]]
    missing = run.unreported()
    cases = [*run.cases, *(_never_reported(each, names) for each in missing)]
    place = {each: n for n, each in enumerate(dict.fromkeys(run.planned))}
    cases.sort(key=lambda case: (place.get(case.id, len(place)), case.id))
    clean = replace(
        run,
        fleet=fleet_facts(run.fleet),
        command=redacted(run.command),
        notes=tuple(redacted(note) for note in run.notes),
        cases=tuple(_redacted_case(case) for case in cases),
    )
    unplanned = tuple(c.id for c in run.cases if c.id not in place and c.verdict not in UNJUDGED)
    return View(run=clean, unreported=missing, unplanned=unplanned)


def redacted(text: str) -> str:
    """The text without anything that looks like a key, a certificate or a token, and such that UTF-8 can store it."""
    return _SECRETS.sub("[redacted]", text.encode("utf-8", "replace").decode("utf-8"))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that speaks for several. Raises ValueError for none."""
    return min(verdicts, key=WORST_FIRST.index)


def area(requirement: str) -> str:
    """The catalogue's name for the requirement's area, or its prefix when the catalogue does not have it."""
    known = catalogue().get(requirement)
    return known.area if known else requirement.rpartition("-")[0] or requirement


def headline(seen: View) -> str:
    """The run in a few words, worst news first: "FAILED 2 of 40, 12 not built"."""
    counts, total = seen.counts(), len(seen.judged())
    tail = f", {counts[Verdict.NOT_BUILT]} not built" if counts[Verdict.NOT_BUILT] else ""
    code = seen.run.exit_code
    for verdict in RED:
        if counts[verdict]:
            return f"{verdict.value.upper()} {counts[verdict]} of {total}{tail}"
    if code is None:
        return f"UNFINISHED after {len(seen.run.cases)} of {len(seen.run.planned)}{tail}"
    if code in _PYTEST_EXITS:
        return f"{_PYTEST_EXITS[code]} (exit {code}){tail}"
    if not counts[Verdict.PASSED] and not counts[Verdict.OBSERVED]:
        return f"NOTHING RAN of {total} (exit {code}){tail}"
    if code != 0:
        return f"NOT GREEN (exit {code}){tail}"
    best = Verdict.PASSED if counts[Verdict.PASSED] else Verdict.OBSERVED
    return f"{best.value.upper()} {counts[best]} of {total}{tail}"


def limits(seen: View) -> tuple[str, ...]:
    """What this run cannot prove, one sentence each."""
    run, counts = seen.run, seen.counts()
    found = []
    if run.mesh.disclaimer:
        found.append(f"The mesh under test is {run.mesh.name}: it {run.mesh.disclaimer}.")
    if run.fleet.get("provider") == "embedded":
        found.append(
            "The embedded fleet has real control planes and a real network, but its pods are processes without a "
            "container runtime and its nodes have no kubelet: it proves nothing about a CNI, a cloud network or "
            "another kernel."
        )
    if len(seen.clusters()) == 2:
        found.append("Two clusters cannot show what a third one does: nothing here is proven for larger fleets.")
    if counts[Verdict.NOT_BUILT]:
        found.append(
            f"{counts[Verdict.NOT_BUILT]} requirements are not tested at all yet; they are listed as not built."
        )
    if counts[Verdict.UNSUPPORTED]:
        found.append(
            f"{counts[Verdict.UNSUPPORTED]} cases could not run on this fleet, mesh or profile; each says why."
        )
    return tuple(found)


def _redacted_case(case: CaseResult) -> CaseResult:
    values = sorted(case.observed.items())
    return replace(
        case,
        reason=redacted(case.reason),
        message=redacted(case.message),
        rerun=redacted(case.rerun),
        observed={name: redacted(value) if isinstance(value, str) else value for name, value in values},
    )


def _never_reported(case_id: str, clusters: list[str]) -> CaseResult:
    requirement, _, inner = case_id.partition("[")
    inner = inner.rstrip("]")
    # A cluster name may hold dashes, so the pair is found by trying the fleet's own, not by splitting.
    pair = next(((a, b) for a in clusters for b in clusters if a != b and inner == f"{a}-{b}"), None)
    known = catalogue().get(requirement)
    title = known.title if known else case_id
    return unjudged(case_id, requirement, title, pair, Verdict.UNKNOWN, NEVER_REPORTED)
