"""`report.yaml`: the record of a run, in the shape of a Gateway API conformance report.

What was tested comes first, then on what, then the result in ever finer grain: profile, requirement × pair, case. Its
schema is `report.schema.json` beside this module; a field is added without a new apiVersion, never renamed or removed;
`schemaRevision` counts the additions (none: 1; 2: claims, measurements). The same run gives the same bytes.

Limits: facts about the fleet come from an allow-list (`fixtures.results`), so no kubeconfig, address of an API server
or certificate can be in it. Paths are relative to the run directory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.report.claims import Stood, standings
from meshproof.report.matrix import rows
from meshproof.report.measurements import Measurement, measurements
from meshproof.report.view import View, area, headline, limits, worst

API_VERSION = "meshproof.dev/v1alpha1"
SCHEMA_REVISION = 2
KIND = "ConformanceReport"
SCHEMA_FILE = "report.schema.json"


def schema() -> Mapping[str, Any]:
    """The JSON schema of the document."""
    file = resources.files("meshproof.report").joinpath(SCHEMA_FILE)
    loaded: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def text(seen: View) -> str:
    """The document as YAML."""
    return yaml.dump(document(seen), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


def document(seen: View) -> dict[str, Any]:
    """The document as plain values."""
    run = seen.run
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "mesh": {"name": run.mesh.name, "version": run.mesh.version, "disclaimer": run.mesh.disclaimer},
        "schemaRevision": SCHEMA_REVISION,
        "headline": headline(seen),
        "exitCode": run.exit_code,
        "profile": _profile(seen),
        "fleet": _fleet(seen),
        "suite": {"name": "meshproof", "version": run.suite, "suites": list(run.suites)},
        "run": {"started": run.started, "seconds": round(run.seconds, 3), "seed": run.seed},
        "reproduce": {"command": run.command},
        "limits": list(limits(seen)),
        "summary": {
            "planned": len(dict.fromkeys(run.planned)),
            "verdicts": {verdict.value: count for verdict, count in seen.counts().items()},
            "unreported": list(seen.unreported),
            "unplanned": list(seen.unplanned),
        },
        "claims": [_claim(stood, run.profile) for stood in standings(seen)],
        "requirements": _requirements(seen),
        "measurements": [_measurement(each) for each in measurements(seen.judged())],
        "notBuilt": [
            {
                "requirement": case.requirement,
                "title": case.title,
                "area": area(case.requirement),
                "reason": case.reason,
            }
            for case in seen.of(Verdict.NOT_BUILT)
        ],
        "excluded": [{"id": case.id, "reason": case.reason} for case in seen.of(Verdict.EXCLUDED)],
        "cases": [_case(case) for case in seen.judged()],
        "notes": list(run.notes),
    }


def _profile(seen: View) -> dict[str, Any]:
    """Gateway API's words: success, partial (green, but not everything was judged) or failure; ours: unknown."""
    counts = seen.counts()
    if counts[Verdict.FAILED]:
        result = "failure"
    elif counts[Verdict.UNKNOWN] or seen.run.exit_code != 0 or not (counts[Verdict.PASSED] + counts[Verdict.OBSERVED]):
        result = "unknown"
    elif counts[Verdict.UNSUPPORTED] or counts[Verdict.NOT_BUILT] or counts[Verdict.EXCLUDED]:
        result = "partial"
    else:
        result = "success"
    return {"name": seen.run.profile, "result": result}


def _fleet(seen: View) -> dict[str, Any]:
    fleet = seen.run.fleet
    return {
        "name": fleet.get("name", ""),
        "provider": fleet.get("provider", ""),
        "clusters": [
            {
                "name": cluster["name"],
                "id": cluster.get("id"),
                "kubernetes": cluster.get("kubernetes", ""),
                "kubeSystemUID": cluster.get("uid", ""),
                **{key: cluster[key] for key in ("nodes", "nodeCIDR", "podCIDR", "serviceCIDR") if key in cluster},
            }
            for cluster in fleet["clusters"]
        ],
    }


def _requirements(seen: View) -> list[dict[str, Any]]:
    titles = {case.requirement: case.title for case in seen.judged()}
    found = []
    for requirement, row in rows(seen).items():
        cells: list[dict[str, Any]] = [
            {"from": pair[0], "to": pair[1], "verdict": row[pair].value} for pair in seen.pairs() if pair in row
        ]
        entry: dict[str, Any] = {
            "id": requirement,
            "title": titles[requirement],
            "area": area(requirement),
            "verdict": worst(row.values()).value,
        }
        if None in row:
            entry["wholeFleet"] = row[None].value
        found.append({**entry, "pairs": cells})
    return found


def _claim(stood: Stood, profile: str) -> dict[str, Any]:
    claim = stood.claim
    return {
        "id": claim.id,
        "claim": claim.text,
        "documents": list(claim.documents),
        "standing": stood.standing.value,
        "why": stood.why,
        "note": claim.notes.get(profile, ""),
        "requirements": [{"id": id, "verdict": verdict.value} for id, verdict in stood.verdicts.items()],
    }


def _measurement(each: Measurement) -> dict[str, Any]:
    found: dict[str, Any] = {"requirement": each.requirement, "name": each.name, "cases": each.cases}
    if each.values:
        found |= {"least": each.values[0], "median": each.median, "most": each.values[-1]}
    return {**found, "said": list(each.said)} if each.said else found


def _case(case: CaseResult) -> dict[str, Any]:
    return {
        "id": case.id,
        "requirement": case.requirement,
        "pair": {"from": case.pair[0], "to": case.pair[1]} if case.pair else None,
        "verdict": case.verdict.value,
        "reason": case.reason,
        "message": case.message,
        "observed": dict(case.observed),
        "seconds": round(case.seconds, 3),
        "history": case.history,
        "nodeid": case.nodeid,
        "rerun": case.rerun,
    }


class _Plain(yaml.SafeDumper):
    """Safe YAML without anchors, and with a block for text of several lines, so that a message can be read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _string(dumper: _Plain, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Plain.add_representer(str, _string)
