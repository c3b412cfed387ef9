"""Whose kubeconfig, and which context: how a person says which clusters are meant. Files are read, never written.

`--context a --context b` stands for a fleet file, which `fleet_file` writes into our own state directory: so there is
one way in, one set of checks and one thing to hand on to pytest.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from meshproof.clusters.clients import parts
from meshproof.clusters.fleet import ClusterSpec, EnvironmentUnfit
from meshproof.clusters.places import state_directory

NAME = "existing"
"""Of a fleet that is given by its contexts."""
_LONGEST = 32


def kubeconfig_of(spec: ClusterSpec) -> Path:
    """The cluster's kubeconfig as kubectl would find it: the given one, $KUBECONFIG, else ~/.kube/config."""
    given = spec.kubeconfig or os.environ.get("KUBECONFIG", "")
    return Path(given) if given else Path.home() / ".kube" / "config"


def require_context(spec: ClusterSpec) -> Path:
    """The kubeconfig, once it is sure that it has the context. Raises EnvironmentUnfit with the nearest there is."""
    kubeconfig = kubeconfig_of(spec)
    known = contexts(kubeconfig)
    if spec.context in known:
        return kubeconfig
    near = difflib.get_close_matches(spec.context, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
    raise EnvironmentUnfit(f"kubeconfig {kubeconfig} has no context {spec.context!r}; {hint}")


def contexts(kubeconfig: Path) -> list[str]:
    """The names of its contexts. Raises EnvironmentUnfit when there is nothing that can be read as one."""
    import yaml

    found: dict[str, None] = {}
    there = [part for part in parts(kubeconfig) if part.exists()]
    if not there:
        raise EnvironmentUnfit(f"there is no kubeconfig {kubeconfig}; give --kubeconfig FILE, or set KUBECONFIG")
    for part in there:
        try:
            document = yaml.safe_load(part.read_text(encoding="utf-8")) or {}
            found |= dict.fromkeys(str(entry["name"]) for entry in document.get("contexts") or ())
        except (OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            kind = type(error).__name__  # never what the parser quotes: a kubeconfig holds keys
            raise EnvironmentUnfit(f"{part} cannot be read as a kubeconfig ({kind})") from None
    return list(found)


def fleet_file(given: Sequence[str], *, kubeconfig: str = "", mesh: str = "", profile: str = "") -> Path:
    """Write the fleet file that these contexts stand for. The same words give the same file.

    Raises EnvironmentUnfit for fewer than two contexts, or one given twice.
    """
    if len(given) < 2:
        raise EnvironmentUnfit("a cross-cluster network needs two clusters: give --context twice or more")
    if twice := [one for one in dict.fromkeys(given) if given.count(one) > 1]:
        raise EnvironmentUnfit(f"--context {twice[0]} is given twice; each stands for a cluster of its own")
    if kubeconfig:
        kubeconfig = os.pathsep.join(str(part.expanduser().absolute()) for part in parts(Path(kubeconfig)))
    top = {"name": NAME, "provider": "existing", "mesh": mesh, "profile": profile}
    lines = [f"{key}: {value}" for key, value in top.items() if value]
    lines.append("clusters:")
    for name, context in zip(cluster_names(given), given, strict=True):
        member = {"name": name, "context": context, **({"kubeconfig": kubeconfig} if kubeconfig else {})}
        lines.append("  - {" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in member.items()) + "}")
    text = "\n".join(lines) + "\n"
    folder = state_directory() / NAME
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"contexts-{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def cluster_names(given: Sequence[str]) -> list[str]:
    """A short name for the cluster of each context, such as may stand in a case's id; all different."""
    names: list[str] = []
    for number, context in enumerate(given, start=1):
        name = re.sub(r"[^a-z0-9]+", "-", context.lower()).strip("-")[-_LONGEST:].strip("-") or "cluster"
        if name in names or name in ("default", "all"):
            name = f"{name[: _LONGEST - 4]}-{number}"
        names.append(name)
    return names
