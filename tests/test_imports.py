"""Every module can be imported, and under one name only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("chaos", "clusters", "conformance", "fixtures", "load")
LAYERS_BELOW_THE_TOP = tuple(f"meshproof.{folder}" for folder in FOLDERS)


def sources() -> dict[str, Path]:
    """Module name to real file, of everything in the five folders and in meshproof itself."""
    found: dict[str, Path] = {}
    for top in (*FOLDERS, "meshproof"):
        for file in sorted((ROOT / top).rglob("*.py")):
            below = file.relative_to(ROOT / top)
            if top == "meshproof" and below.parts[0] in FOLDERS:
                continue  # the links: those files are met by their real path
            parts = ("meshproof", *(() if top == "meshproof" else (top,)), *below.with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


SOURCES = sources()


def imported(file: Path) -> set[str]:
    """The full names a file imports, at any depth of nesting; `from a import b` gives both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


def test_the_five_folders_are_linked_into_the_package() -> None:
    """Each folder is a subpackage of meshproof through a relative link, so a checkout may lie anywhere."""
    for folder in FOLDERS:
        link = ROOT / "meshproof" / folder
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{folder}"
        assert (link / "__init__.py").is_file()


def test_every_module_imports_and_no_file_has_two_names() -> None:
    """A fresh interpreter imports every module, warnings as errors, and no source file is loaded twice."""
    program = """
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
names = {}
for name, module in list(sys.modules.items()):
    if (file := getattr(module, "__file__", None)) and name != "__main__":
        names.setdefault(os.path.realpath(file), set()).add(name)
root = os.path.realpath(os.getcwd()) + os.sep
ours = {file: known for file, known in names.items() if file.startswith(root) and "/.venv/" not in file}
twins = [sorted(known) for known in ours.values() if len(known) > 1]
sys.exit(f"files under two names: {twins}" if twins else 0)
"""
    modules = [name for name in SOURCES if not name.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *modules], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_this_process_knows_no_folder_by_its_short_name() -> None:
    """Neither pytest nor a plugin has imported a folder as `clusters` instead of `meshproof.clusters`."""
    ours = [
        name
        for name, module in sys.modules.items()
        if name.split(".")[0] in FOLDERS and str(getattr(module, "__file__", "")).startswith(str(ROOT))
    ]
    assert ours == []


@pytest.mark.parametrize("name", SOURCES)
def test_imports_go_by_full_names_and_downwards(name: str) -> None:
    """No short names, nobody imports a test module, and only `meshproof` itself may import its own top modules."""
    names = imported(SOURCES[name])
    assert not [n for n in names if n.split(".")[0] in FOLDERS and not n.startswith("chaoslib")], "short name"
    assert not [n for n in names if any(part.startswith("test_") for part in n.split("."))], "imports a test module"
    if name.startswith(LAYERS_BELOW_THE_TOP):
        tops = [n for n in names & SOURCES.keys() if not n.startswith(LAYERS_BELOW_THE_TOP) and n != "meshproof"]
        assert not tops, "a folder imports what a person runs"


def test_the_bootstrap_modules_need_nothing_but_the_standard_library() -> None:
    """Binaries are built before pip has installed anything: an isolated interpreter without site-packages can do it."""
    program = "import sys; sys.path.insert(0, '.'); import meshproof.clusters.embedded.binaries"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_agents_start_without_the_kubernetes_package() -> None:
    """The supervisor's agents speak REST: importing them must not load the kubernetes package (0.4 s, 50 MB each)."""
    agents = [
        name
        for name in SOURCES
        if name.startswith(("meshproof.clusters.embedded.", "meshproof.clusters.meshes.reference."))
    ]
    program = """
import importlib, sys
guilty = []
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "kubernetes" in sys.modules:
        sys.exit(f"{name} loads the kubernetes package")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *[n for n in agents if not n.endswith("__main__")]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
