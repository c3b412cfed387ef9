"""What a run comes to for each claim of the documents.

A claim's standing is derived from the verdicts of its requirements, by the first of these that applies:

failed        a requirement failed
unknown       a requirement is unknown, or the run did not end in order and so shows nothing
not-promised  no document of this run's profile says it
not-checked   nothing was judged from traffic for it
in-part       what was judged held, but a requirement is unsupported, not built or excluded (somewhere: on one pair is
              enough), or the claim needs something besides requirements that the suite does not have
observed      all of it was judged, and all of it is measured without a promise
held          every requirement was judged on every pair, and none was broken

So nothing is held because nobody looked, and every claim that is not held says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from meshproof.fixtures.claims import Claim, ledger
from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.verdicts import EXIT_FAILED, EXIT_GREEN, EXIT_UNKNOWN, Verdict
from meshproof.report.view import View, worst

IN_ORDER = (EXIT_GREEN, EXIT_FAILED, EXIT_UNKNOWN)
"""Exit codes of a run whose verdicts stand for what they say."""

_JUDGED = (Verdict.PASSED, Verdict.OBSERVED)
_OPEN = (Verdict.UNSUPPORTED, Verdict.NOT_BUILT, Verdict.EXCLUDED)


class Standing(StrEnum):
    """How a claim came out of one run; see this module."""

    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_PROMISED = "not-promised"
    NOT_CHECKED = "not-checked"
    IN_PART = "in-part"
    OBSERVED = "observed"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Stood:
    """One claim after one run. `why` is one sentence, empty when it is held."""

    claim: Claim
    standing: Standing
    why: str
    verdicts: Mapping[str, Verdict]
    """Each requirement of the claim to the worst verdict of its cases."""


def standings(seen: View) -> tuple[Stood, ...]:
    """Every claim of the ledger, in its order."""
    cases: dict[str, list[CaseResult]] = {}
    for case in seen.run.cases:
        cases.setdefault(case.requirement, []).append(case)
    return tuple(_stood(claim, cases, seen) for claim in ledger().claims.values())


def _stood(claim: Claim, cases: Mapping[str, list[CaseResult]], seen: View) -> Stood:
    found = {id: {case.verdict for case in cases.get(id, ())} for id in claim.requirements}
    # A run made by an older catalogue has no word on a requirement: nobody looked.
    verdicts = {id: worst(each or {Verdict.EXCLUDED}) for id, each in found.items()}
    standing, why = _decide(
        claim, verdicts, judged=any(each.intersection(_JUDGED) for each in found.values()), seen=seen
    )
    return Stood(claim, standing, why, verdicts)


def _decide(claim: Claim, verdicts: Mapping[str, Verdict], *, judged: bool, seen: View) -> tuple[Standing, str]:
    if failed := _with(verdicts, Verdict.FAILED):
        return Standing.FAILED, f"{failed} failed"
    if unknown := _with(verdicts, Verdict.UNKNOWN):
        return Standing.UNKNOWN, f"{unknown} unknown"
    code = seen.run.exit_code
    if judged and code not in IN_ORDER:
        return Standing.UNKNOWN, "the run did not end" if code is None else f"the run ended with exit code {code}"
    if not claim.promised_by(seen.run.profile):
        return Standing.NOT_PROMISED, f"only documents of {' and '.join(claim.only)} say it"
    missing = "; ".join((*_unjudged(verdicts), *(f"{what} not built" for what in ledger().missing(claim))))
    if not judged:
        return Standing.NOT_CHECKED, missing
    if missing:
        return Standing.IN_PART, missing
    if Verdict.PASSED not in verdicts.values():
        return Standing.OBSERVED, "measured, no promise made"
    return Standing.HELD, ""


def _unjudged(verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    for verdict in _OPEN:
        if named := _with(verdicts, verdict):
            yield f"{named} {verdict.value.replace('-', ' ')}"


def _with(verdicts: Mapping[str, Verdict], verdict: Verdict) -> str:
    """The requirements that have this verdict."""
    return spans([id for id, each in verdicts.items() if each is verdict])


def spans(ids: Iterable[str]) -> str:
    """Ids with neighbours joined: "FO-01 to FO-05, LB-14"; empty for none."""
    groups: list[list[str]] = []
    for id in ids:
        if groups and _follows(groups[-1][-1], id):
            groups[-1].append(id)
        else:
            groups.append([id])
    return ", ".join(f"{each[0]} to {each[-1]}" if len(each) > 2 else ", ".join(each) for each in groups)


def _follows(one: str, other: str) -> bool:
    (area, _, number), (other_area, _, other_number) = one.rpartition("-"), other.rpartition("-")
    return area == other_area and int(other_number) == int(number) + 1
