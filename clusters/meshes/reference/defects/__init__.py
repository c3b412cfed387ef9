"""Defects: real bugs, each a wrapper around the seams of a healthy `Pipeline`, one file each.

A file here that defines `DEFECT` is a defect, named as its file is. `live` toggles them in a running
mesh. The healthy code knows nothing of this package.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.pipeline import Pipeline, Site


@dataclass(frozen=True, slots=True)
class Defect:
    """One bug: what it is modelled on, what must notice it, and what must not."""

    name: str
    models: str
    """The real bug, as research/cilium-cluster-mesh.md numbers it."""
    requirement: str
    expectation: str
    """The expectation of that requirement's case that must turn red, by its name in the history."""
    stays_green: tuple[str, ...]
    wrap: Callable[[Pipeline], Pipeline]


class UnknownDefect(ValueError):
    """No defect has this name."""


def every() -> tuple[Defect, ...]:
    """All defects, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.DEFECT for module in modules if hasattr(module, "DEFECT"))


def named(names: Iterable[str]) -> tuple[Defect, ...]:
    """The defects of these names. Raises UnknownDefect."""
    known = {defect.name: defect for defect in every()}
    wanted = list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UnknownDefect(f"unknown defect {', '.join(unknown)}; known: {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def wrapped(defects: Iterable[Defect], here: Site = Site()) -> Pipeline:  # noqa: B008 - an immutable value
    """A healthy pipeline of that place with these defects put around it, in order."""
    return functools.reduce(lambda pipeline, defect: defect.wrap(pipeline), defects, Pipeline(here))
