"""The house budgets of docs and style, kept by a machine: sizes, names, docstrings, waits, and what a case may contain.

A budget is broken openly or not at all: an exception stands here, by path, with its reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("chaos", "clusters", "conformance", "fixtures", "load", "meshproof", "tests")
LINKS = {ROOT / "meshproof" / folder for folder in FOLDERS}
NOT_OURS = {".git", ".venv", "runs", "build", "dist", "__pycache__", ".hypothesis", "node_modules"}
TEXTS = {
    ".cfg",
    ".css",
    ".go",
    ".html",
    ".js",
    ".json",
    ".md",
    ".mod",
    ".py",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    "",
}

MODULE_LINES_MAX = 300
TEST_MODULE_LINES_MAX = 450
"""More than a module's: a test module is a list of sentences, and is read by its sentences."""
FUNCTION_LINES_MAX = 50
LONG_MODULES: Mapping[str, str] = {
    "fixtures/traffic.py": "one file by contract: it travels into pods as one ConfigMap entry, without us",
}
LONG_FUNCTIONS: Mapping[str, str] = {}
FIXED_SLEEPS: Mapping[str, str] = {}
SKIPPING: Mapping[str, str] = {
    "tests/test_fidelity.py": "needs the charts of the product under test, which are not ours to keep here",
}

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}
REGISTRIES = (
    "docker" + ".io",
    "gcr" + ".io",
    "ghcr" + ".io",
    "quay" + ".io",
    "registry.k8s" + ".io",
    "mcr.micro" + "soft.com",
)
EXCUSED: Mapping[str, str] = {
    # the images of a product under test
    "clusters/meshes/cilium/lock.yaml": "quay" + ".io/cilium/",
    # also the name of Debian's package of the Docker Engine
    "clusters/kind/engine.py": "docker" + ".io",
}
"""Files that may say this much of a registry, and no more."""
MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/")


def files() -> Iterator[Path]:
    """Every file of the checkout by its real path; what git ignores and what lies behind a link is left out."""
    pending = [ROOT]
    while pending:
        for entry in sorted(pending.pop().iterdir()):
            ignored = entry.name in NOT_OURS or entry.name.endswith((".egg-info", "_cache", ".pyc"))
            if entry.is_symlink() or ignored:
                continue
            if entry.is_dir():
                pending.append(entry)
            else:
                yield entry


def path(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def trees() -> dict[str, ast.Module]:
    """Every Python file of ours, parsed once, by whoever asks first."""
    return {
        path(file): ast.parse(file.read_text(), path(file))
        for file in files()
        if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in FOLDERS
    }


def offences(names: Iterable[str], check: Callable[[str], None]) -> list[str]:
    """What `check` refuses, a line a file: a test for each file would take longer to start than to run."""
    found = []
    for name in names:
        try:
            check(name)
        except AssertionError as offence:
            found.append(f"{name}: {offence}".splitlines()[0])
    return found


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def claims(name: str) -> Iterator[Function]:
    return (function for function in functions(trees()[name]) if function.name.startswith("test_"))


def called(node: ast.AST) -> str:
    """The dotted name a call or decorator goes by; empty for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def test_the_exceptions_are_still_needed() -> None:
    """An exception whose file is gone, or keeps its budget by now, is removed from the list."""
    assert [name for name in {**LONG_FUNCTIONS, **FIXED_SLEEPS, **SKIPPING} if name.split("::")[0] not in trees()] == []
    assert [name for name in LONG_MODULES if len((ROOT / name).read_text().splitlines()) <= MODULE_LINES_MAX] == []


def test_a_module_is_one_idea() -> None:
    """A module has a docstring that tells its idea, a length one can read, and no empty name."""

    def check(name: str) -> None:
        source = (ROOT / name).read_text()
        assert not source.strip() or ast.get_docstring(trees()[name]), "no module docstring"
        lines, budget = (
            len(source.splitlines()),
            TEST_MODULE_LINES_MAX if name.startswith("tests/") else MODULE_LINES_MAX,
        )
        assert lines <= budget or name in LONG_MODULES, "longer than the budget"
        assert EMPTY_NAMES.isdisjoint([*Path(name).parts, Path(name).stem]), "a name that says nothing"

    assert offences(trees(), check) == []


def test_a_function_fits_on_a_screen() -> None:
    """No function is longer than the budget, signature and docstring included."""

    def check(name: str) -> None:
        lengths = {f"{name}::{f.name}": (f.end_lineno or 0) - f.lineno + 1 for f in functions(trees()[name])}
        assert {
            f: lines for f, lines in lengths.items() if lines > FUNCTION_LINES_MAX and f not in LONG_FUNCTIONS
        } == {}

    assert offences(trees(), check) == []


def test_no_fixed_sleep_and_no_module_state() -> None:
    """A wait is a condition or a named poll interval, never a bare number; no function rebinds a module's names."""

    def check(name: str) -> None:
        for node in ast.walk(trees()[name]):
            assert not isinstance(node, ast.Global), f"line {node.lineno}: module state"
            if isinstance(node, ast.Call) and called(node).split(".")[-1] == "sleep" and name not in FIXED_SLEEPS:
                literal = any(isinstance(argument, ast.Constant) and argument.value for argument in node.args)
                assert not literal, f"line {node.lineno}: a fixed sleep"

    assert offences(trees(), check) == []


def test_a_test_says_its_truth_in_one_sentence() -> None:
    """Every test function has a docstring of one line that ends in a full stop; none is skipped or rerun silently."""

    def check(name: str) -> None:
        for function in claims(name):
            truth = ast.get_docstring(function) or ""
            assert truth.endswith("."), f"{function.name}: no sentence"
            assert "\n" not in truth, f"{function.name}: more than one line"
        skips = [
            called(n)
            for n in ast.walk(trees()[name])
            if re.search(r"\b(skip|skipif|importorskip|flaky|xfail)$", called(n))
        ]
        assert name in SKIPPING or skips == []

    assert offences([name for name in trees() if Path(name).name.startswith("test_")], check) == []


def test_what_is_silenced_has_a_code_and_a_reason() -> None:
    """A `noqa` or `type: ignore` names its rule, and says why after it."""

    def check(name: str) -> None:
        marks = re.compile(r"#\s*(?:noqa|type:\s*ignore)(.*)")
        reasoned = re.compile(r"(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[\w, -]+\])\W+\w.{5,}")
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            if (mark := marks.search(line)) and name != "tests/test_tidy.py":
                assert reasoned.match(mark[1]), f"line {number}: {line.strip()}"

    assert offences(trees(), check) == []


def test_no_file_names_a_registry_or_a_machine() -> None:
    """Nothing in the checkout depends on an image registry or on where somebody's checkout lies."""
    guilty = []
    for file in files():
        if file.suffix in TEXTS and file.name != "go.sum":
            text = file.read_text(errors="replace")
            text = text.replace(EXCUSED.get(path(file), "\0"), "")
            guilty += [f"{path(file)}: {word}" for word in (*REGISTRIES, *MACHINE_PATHS) if word in text]
    assert guilty == []


def test_a_case_is_control_act_claim() -> None:
    """A case names its requirement, and holds no try, no loop, no sleep and no manifest of its own."""

    def check(name: str) -> None:
        for function in claims(name):
            assert any(called(d).split(".")[-1] == "requirement" for d in function.decorator_list), function.name
            for node in ast.walk(function):
                assert not isinstance(node, ast.Try | ast.For | ast.AsyncFor | ast.While), f"line {node.lineno}"
                assert called(node).split(".")[-1] != "sleep", function.name
                manifest = (
                    isinstance(node, ast.Constant) and isinstance(node.value, str) and "apiVersion:" in node.value
                )
                assert not manifest, f"{function.name}: a manifest in the test"

    assert (
        offences(
            [name for name in trees() if re.fullmatch(r"(conformance|chaos|load)/(.*/)?test_\w+\.py", name)], check
        )
        == []
    )


def test_a_manifest_lies_beside_the_test_it_belongs_to() -> None:
    """Every manifest of a suite has the stem of a test module in the same folder."""
    manifests = [file for folder in ("conformance", "chaos") for file in (ROOT / folder).rglob("test_*.yaml")]
    assert [path(file) for file in manifests if not file.with_suffix(".py").is_file()] == []


def test_scripts_stop_at_the_first_error() -> None:
    """Every shell script is strict: errors, unset variables and broken pipes end it."""
    scripts = [file for file in files() if file.suffix == ".sh" or path(file) == ".ci/run"]
    assert scripts
    assert [path(file) for file in scripts if "set -euo pipefail\n" not in file.read_text()] == []
