"""What was measured, one line a requirement and quantity: how far the cases (pairs of clusters) lie apart.

Units are in the names. A percentile of percentiles means nothing, so only the least, the median and the most of the
cases' own values are given; the cases themselves are listed with theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meshproof.fixtures.results import CaseResult


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity of one requirement over all its cases; `said` are values that are no numbers, such as "never"."""

    requirement: str
    name: str
    values: tuple[float, ...]
    """Sorted."""
    said: tuple[str, ...]

    @property
    def cases(self) -> int:
        return len(self.values) + len(self.said)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def spread(self) -> str:
        """Such as "0.12 to 0.35", "0.8", "never (2)"."""
        words = [f"{word} ({self.said.count(word)})" for word in dict.fromkeys(self.said)]
        if self.values:
            least, most = (f"{value:g}" for value in (self.values[0], self.values[-1]))
            words.insert(0, least if least == most else f"{least} to {most}")
        return ", ".join(words)


def measurements(cases: Iterable[CaseResult]) -> tuple[Measurement, ...]:
    """In the order of the cases, and of the names within them."""
    found: dict[tuple[str, str], list[float | str]] = {}
    for case in cases:
        for name, value in case.observed.items():
            found.setdefault((case.requirement, name), []).append(value)
    return tuple(_measurement(requirement, name, values) for (requirement, name), values in found.items())


def by_requirement(found: Iterable[Measurement]) -> Mapping[str, tuple[Measurement, ...]]:
    """Grouped, in order."""
    groups: dict[str, list[Measurement]] = {}
    for each in found:
        groups.setdefault(each.requirement, []).append(each)
    return {requirement: tuple(each) for requirement, each in groups.items()}


def _measurement(requirement: str, name: str, values: list[float | str]) -> Measurement:
    numbers = sorted(float(value) for value in values if not isinstance(value, str))
    return Measurement(requirement, name, tuple(numbers), tuple(value for value in values if isinstance(value, str)))
