"""One defect of each class of real bugs, drawn by a text such as a commit, so that CI comes round to all of them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from meshproof.clusters.meshes.reference.defects import Defect


def rotated(chosen: Sequence[Defect], key: str) -> list[Defect]:
    """One defect of each class of real bugs, drawn by `key`."""
    classes: dict[str, list[Defect]] = {}
    for defect in chosen:
        classes.setdefault(class_of(defect), []).append(defect)
    return [random.Random(f"{key} {name}").choice(its) for name, its in sorted(classes.items())]


def class_of(defect: Defect) -> str:
    """The class of the catalogue of real bugs that the first number in `models` (C17, say) belongs to."""
    found = re.match(r"C(\d+)\b", defect.models)
    number = int(found[1]) if found else _LAST_NUMBER + 1
    return next((name for last, name in _CLASSES if number <= last), "other")


_CLASSES = (
    (15, "stale backends"),
    (33, "missing backends"),
    (41, "wrong merging"),
    (46, "global and shared"),
    (52, "affinity"),
    (55, "session affinity"),
    (83, "policy, identity and certificates"),
    (88, "drops on failover"),
)
"""The last number of each class in the catalogue of real bugs: Cilium's semantics and bugs, part C."""
_LAST_NUMBER = _CLASSES[-1][0]
