"""What `-k` asks for, looked at before a fleet is brought up: what can match no case is refused at once.

Only ids and pairs of clusters are judged. All else in an expression (names of modules, say) is pytest's to match.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from meshproof.cli.exits import Exit, Refused
from meshproof.clusters.fleet import FleetSpec
from meshproof.fixtures.requirements import built_ids, unknown_ids
from meshproof.fixtures.support import work_for

_WORDS_BETWEEN = {"and", "or"}


def refuse_pointless(expression: str, spec: FleetSpec) -> None:
    """Raise `Refused` for an id or a pair that does not exist (4), or when all it names is not built (5)."""
    if not expression.strip():
        raise Refused("-k with nothing after it would choose every case; leave it out for that")
    for problem in (*_no_ids(expression), *_no_pairs(expression, spec)):
        raise Refused(f"-k {problem}")
    words = [word for word in re.findall(r"[^\s()]+", expression) if word not in _WORDS_BETWEEN]
    ids = [word.partition("[")[0].upper() for word in words]
    if words and not built_ids().intersection(ids) and all(work_for(id) for id in ids):
        why = "; ".join(f"{id} is not built yet, it needs {work_for(id)}" for id in dict.fromkeys(ids))
        raise Refused(f"-k {expression}: nothing would be tested: {why}", Exit.NOTHING)


def _no_ids(expression: str) -> Iterator[str]:
    for word, near in unknown_ids(expression):
        hint = f", did you mean {near}?" if near else ";"
        yield f"{word}: there is no requirement {word}{hint} `meshproof list` has them all"


def _no_pairs(expression: str, spec: FleetSpec) -> Iterator[str]:
    pairs = [f"{near.name}-{far.name}" for near in spec.clusters for far in spec.clusters if near is not far]
    for word, inner in re.findall(r"([A-Za-z]+-\d+\[([^\]\s]*)\]?)", expression):
        if not any(pair.startswith(inner.lower()) or inner.lower().startswith(pair) for pair in pairs):
            near = difflib.get_close_matches(inner, pairs, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its pairs are {', '.join(pairs)}"
            yield f"{word}: fleet {spec.name} has no pair {inner}, {hint}"
