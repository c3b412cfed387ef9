"""`junit.xml` for CI systems: a testcase per case; failed is a failure, unknown an error, neutral ones are skipped.

Names are unique, because GitLab keeps only the first of two equal names and would show a red case green. Facts about
the run are properties of the suite, facts about a case its own. XML 1.0 cannot hold most control characters in any
form, so they are spelled out; long messages are cut, the whole text is in report.yaml.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import Any

import junitparser

from meshproof.fixtures.results import CaseResult
from meshproof.fixtures.verdicts import Verdict
from meshproof.report.view import View, headline

_xml: Any = junitparser  # says it is typed and mostly is not

_MESSAGE_LENGTH_MAX = 20_000
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(seen: View) -> str:
    """The whole file."""
    run = seen.run
    suite = _xml.TestSuite(legal(f"meshproof {' '.join(run.suites)}".strip()))
    suite.timestamp = run.started
    facts = {
        "mesh": str(run.mesh),
        "verdict": headline(seen),
        "fleet": str(run.fleet.get("name", "")),
        "provider": str(run.fleet.get("provider", "")),
        "clusters": ", ".join(f"{c['name']} {c.get('kubernetes', '')}".strip() for c in run.fleet["clusters"]),
        "profile": run.profile,
        "seed": str(run.seed),
        "meshproof": run.suite,
        "command": run.command,
    }
    for name, value in facts.items():
        suite.add_property(name, legal(value))
    seen_names: Counter[str] = Counter()
    cases = []
    for case in run.cases:
        seen_names[case.id] += 1
        twice = seen_names[case.id]
        cases.append(_testcase(seen, case, case.id if twice == 1 else f"{case.id} (result {twice})"))
    suite.add_testcases(cases)
    suite.time = round(run.seconds, 3)
    # Not add_testsuite(): it recomputes the suite's time as a sum, which is not what the run took.
    whole = _xml.JUnitXml("meshproof")
    whole.append(suite)
    whole.tests, whole.failures, whole.errors, whole.skipped = suite.tests, suite.failures, suite.errors, suite.skipped
    whole.time = round(run.seconds, 3)
    out = io.BytesIO()
    whole.write(out)
    return out.getvalue().decode("utf-8") + "\n"


def legal(value: str) -> str:
    """The text with every character that XML 1.0 forbids spelled out, such as \\x1b."""
    return _ILLEGAL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)


def _testcase(seen: View, case: CaseResult, name: str) -> Any:
    module = case.nodeid.partition("::")[0].removesuffix(".py").replace("/", ".")
    shown = _xml.TestCase(legal(name), legal(module or f"meshproof.{case.requirement}"), round(case.seconds, 3))
    facts = {
        "requirement": case.requirement,
        "title": case.title,
        "pair": f"{case.pair[0]}>{case.pair[1]}" if case.pair else "",
        "verdict": case.verdict.value,
        "mesh": str(seen.run.mesh),
        "seed": str(seen.run.seed),
        "rerun": case.rerun,
        "history": case.history or "",
        **{f"observed.{key}": str(value) for key, value in case.observed.items()},
    }
    properties = _xml.Properties()
    for key, value in facts.items():
        if value:
            properties.add_property(_xml.Property(legal(key), legal(value)))
    # The schema that CI systems check wants properties before the result.
    shown.append(properties)
    shown.result = _results(case)
    return shown


def _results(case: CaseResult) -> list[Any]:
    match case.verdict:
        case Verdict.PASSED | Verdict.OBSERVED:
            return []
        case Verdict.FAILED:
            result = _xml.Failure(legal(case.reason), "PromiseBroken")
        case Verdict.UNKNOWN:
            result = _xml.Error(legal(case.reason), "CannotTell")
        case _:
            return [_xml.Skipped(legal(f"{case.verdict.value}: {case.reason}"), case.verdict.value)]
    message = case.message or case.reason
    cut = message[:_MESSAGE_LENGTH_MAX] + ("\n(cut; see report.yaml)" if len(message) > _MESSAGE_LENGTH_MAX else "")
    result.text = legal(cut)
    return [result]
