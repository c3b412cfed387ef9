"""Which mesh joins the clusters of a fleet: the one place that names them all. A new one is a line here.

Defects, and settings that a test may change, are the reference mesh's alone. Who wants to touch them asks for that mesh
by `reference_mesh_of`, and is refused where another mesh is under test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproof.clusters.fleet import EnvironmentUnfit, Fleet, FleetSpec, Mesh

if TYPE_CHECKING:
    from meshproof.clusters.meshes.reference.mesh import ReferenceMesh

REFERENCE = "reference"


def mesh_of(fleet: Fleet) -> Mesh:
    """The mesh of a running fleet. Raises EnvironmentUnfit for one that this release does not have."""
    spec = fleet.spec
    if spec.mesh == REFERENCE:
        return reference_mesh_of(spec)
    if spec.lent and spec.mesh in ("cilium", "aks-fleet"):
        from meshproof.clusters.meshes.installed import installed_mesh

        return installed_mesh(fleet)
    raise EnvironmentUnfit(f"fleet {spec.name!r}: this release does not have mesh {spec.mesh!r}")


def reference_mesh_of(spec: FleetSpec) -> ReferenceMesh:
    """The mesh in which defects live. Raises EnvironmentUnfit for a fleet with any other one."""
    from meshproof.clusters.meshes.reference import mesh

    if spec.mesh != REFERENCE:
        raise EnvironmentUnfit(
            f"{spec.source}: defects live in the reference mesh; this fleet's mesh is {spec.mesh or 'not known'!r}"
        )
    return mesh.ReferenceMesh()
