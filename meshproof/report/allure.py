"""`allure-results/`: what the Allure report generator reads, one result per case with its history attached.

Written with Allure's own model and file logger, called directly: its reporter is a global registry meant for a running
test process, and a finished run needs none of that. A case keeps its identity (historyId) from run to run as long as
requirement, pair, mesh and fleet are the same; the seed is shown but is no part of it.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from allure_commons import logger as allure_logger
from allure_commons.model2 import Attachment, Label, Parameter, StatusDetails, TestResult
from allure_commons.model2 import Status as AllureStatus

from meshproof.fixtures.results import CaseResult, write_private
from meshproof.fixtures.verdicts import Verdict
from meshproof.report.view import View, area, headline

_files: Any = allure_logger  # says it is typed and is not

STATUS: Mapping[Verdict, str] = {
    Verdict.PASSED: AllureStatus.PASSED,
    Verdict.OBSERVED: AllureStatus.PASSED,
    Verdict.FAILED: AllureStatus.FAILED,
    Verdict.UNKNOWN: AllureStatus.BROKEN,
    Verdict.UNSUPPORTED: AllureStatus.SKIPPED,
    Verdict.NOT_BUILT: AllureStatus.SKIPPED,
    Verdict.EXCLUDED: AllureStatus.SKIPPED,
}


def write(seen: View, run_dir: Path, folder: Path) -> None:
    """Write all results into `folder`, which is emptied first; `run_dir` is where the histories lie."""
    logger = _files.AllureFileLogger(folder, clean=True)
    folder.chmod(0o700)
    for case in seen.run.cases:
        logger.report_result(_result(seen, case, logger, run_dir))
    write_private(folder / "environment.properties", _environment(seen))


def _result(seen: View, case: CaseResult, logger: Any, run_dir: Path) -> TestResult:
    run = seen.run
    started = int((datetime.fromisoformat(run.started).timestamp() + case.at) * 1000)
    identity = _digest(case.requirement, case.id, str(run.mesh.name), str(run.fleet.get("name", "")))
    parameters = [Parameter(name="seed", value=str(run.seed), excluded=True)]
    if case.pair:
        parameters.insert(0, Parameter(name="pair", value=f"{case.pair[0]}>{case.pair[1]}"))
    parameters += [Parameter(name=name, value=str(value), excluded=True) for name, value in case.observed.items()]
    labels = {
        "parentSuite": "meshproof",
        "suite": case.requirement.partition("-")[0],
        "feature": area(case.requirement),
        "story": case.requirement,
        "framework": "meshproof",
        "language": "python",
    }
    tags = (run.mesh.name, case.verdict.value, f"profile:{run.profile}")
    return TestResult(
        uuid=str(uuid.uuid4()),
        historyId=identity,
        testCaseId=_digest(case.requirement),
        fullName=case.nodeid or case.id,
        name=f"{case.id} {case.title}",
        description=f"verdict: {case.verdict.value}\n\nmesh under test: {run.mesh}\n\nagain: `{case.rerun}`",
        status=STATUS[case.verdict],
        statusDetails=StatusDetails(message=_reason(case), trace=case.message or None),
        stage="finished",
        start=started,
        stop=started + int(case.seconds * 1000),
        labels=[Label(name, value) for name, value in labels.items()] + [Label("tag", tag) for tag in tags],
        parameters=parameters,
        attachments=list(_attachments(case, logger, run_dir)),
    )


def _reason(case: CaseResult) -> str:
    """Skipped says nothing of why, so the verdict's own word comes first there."""
    return f"{case.verdict.value}: {case.reason}" if STATUS[case.verdict] == AllureStatus.SKIPPED else case.reason


def _attachments(case: CaseResult, logger: Any, run_dir: Path) -> list[Any]:
    if case.history is None:
        return []
    source = run_dir / case.history
    # A stored run may come from somebody else: only files inside it are copied into a report that is handed on.
    if not source.resolve().is_relative_to(run_dir.resolve()) or not source.is_file():
        return []
    name = f"{uuid.uuid4()}-attachment.jsonl"
    logger.report_attached_file(source, name)
    return [Attachment(name="history.jsonl", source=name, type="text/plain")]


def _environment(seen: View) -> str:
    run = seen.run
    facts = {
        "mesh": str(run.mesh),
        "verdict": headline(seen),
        "profile": run.profile,
        "fleet": str(run.fleet.get("name", "")),
        "provider": str(run.fleet.get("provider", "")),
        **{f"cluster.{c['name']}": f"Kubernetes {c.get('kubernetes', '')}" for c in run.fleet["clusters"]},
        "meshproof": run.suite,
        "seed": str(run.seed),
        "command": run.command,
    }
    return "".join(f"{name}={_property(value)}\n" for name, value in facts.items())


def _property(value: str) -> str:
    """A value of a Java properties file: one line, ASCII, backslashes doubled."""
    one_line = re.sub(r"\s+", " ", value).strip().replace("\\", "\\\\")
    return "".join(c if " " <= c <= "~" else "".join(f"\\u{unit:04x}" for unit in _utf16(c)) for c in one_line)


def _utf16(character: str) -> tuple[int, ...]:
    data = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[n : n + 2], "big") for n in range(0, len(data), 2))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
