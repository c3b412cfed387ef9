"""What a mesh can be told: the data of kube-system/reference-mesh-config, under Cilium's own names.

    clustermesh-default-global-namespace   "true" (default) or "false": whether a Namespace that says nothing takes part
    clustermesh-cache-ttl                  how long a peer that is away keeps its records, as Go writes a duration;
                                           "0s" (default): for ever
    defects                                (see `defects/live`)

A value that cannot be read is told in the status and counts as the default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CONFIG = "reference-mesh-config"
DEFAULT_GLOBAL_NAMESPACE = "clustermesh-default-global-namespace"
CACHE_TTL = "clustermesh-cache-ttl"
DEFAULTS: Mapping[str, str] = {DEFAULT_GLOBAL_NAMESPACE: "true", CACHE_TTL: "0s"}

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+|\d+(?:\.\d+)?")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|)")


@dataclass(frozen=True, slots=True)
class Settings:
    """Read settings. `said` is what they were read from, defaults filled in."""

    global_by_default: bool = True
    cache_ttl_seconds: float = 0.0
    said: Mapping[str, str] = field(default_factory=lambda: DEFAULTS)
    complaint: str = ""


def read_settings(data: Mapping[str, str]) -> Settings:
    """The settings in a ConfigMap's data; what it does not name has its default."""
    said = {key: data.get(key, default) for key, default in DEFAULTS.items()}
    complaints = []
    if said[DEFAULT_GLOBAL_NAMESPACE].lower() not in ("true", "false"):
        complaints.append(f"{DEFAULT_GLOBAL_NAMESPACE}: neither true nor false: {said[DEFAULT_GLOBAL_NAMESPACE]!r}")
    if not _DURATION.fullmatch(said[CACHE_TTL]):
        complaints.append(f"{CACHE_TTL}: not a duration: {said[CACHE_TTL]!r}")
    return Settings(
        global_by_default=said[DEFAULT_GLOBAL_NAMESPACE].lower() != "false",
        cache_ttl_seconds=_seconds(said[CACHE_TTL]),
        said=said,
        complaint="; ".join(complaints),
    )


def _seconds(text: str) -> float:
    if not _DURATION.fullmatch(text):
        return 0.0
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
