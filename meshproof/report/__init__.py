"""Everything a person or a CI system reads about a run, rendered from its raw results.

`report.yaml` is the record (its schema lies beside this module), `junit.xml` and `allure-results/` are for
other programs, and the page on the terminal is for people. All can be made again from `run.json` and `results.jsonl`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every pytest session loads the plugin beside this module, so this file imports nothing heavy
    from meshproof.fixtures.results import RunResult

REPORT_FILE = "report.yaml"
JUNIT_FILE = "junit.xml"
ALLURE_FOLDER = "allure-results"


def load(run_dir: Path) -> RunResult:
    """The raw results of a run. Raises EnvironmentUnfit when the directory is not a run."""
    from meshproof.fixtures.results import load as load_results

    return load_results(run_dir)


def write_all(run_result: RunResult, run_dir: Path) -> None:
    """Write report.yaml, junit.xml and allure-results/ into the run directory, replacing older ones."""
    from meshproof.fixtures.results import write_private
    from meshproof.report import allure, document, junit
    from meshproof.report.view import view

    seen = view(run_result)
    write_private(run_dir / REPORT_FILE, document.text(seen))
    write_private(run_dir / JUNIT_FILE, junit.text(seen))
    allure.write(seen, run_dir, run_dir / ALLURE_FOLDER)
