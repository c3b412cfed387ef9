"""Which provider a fleet file means: the one place that names them all.

Each is imported only when it is asked for, since the command line must answer at once. A new one is a line here.
"""

from __future__ import annotations

from meshproof.clusters.fleet import EnvironmentUnfit, FleetSpec, Provider

KEPT = "fleet.yaml"
"""In a fleet's own directory: a copy of the file it was brought up from."""


def provider_of(spec: FleetSpec) -> Provider:
    """Who brings this fleet up and down. Raises EnvironmentUnfit for one that this release does not have."""
    return provider_called(spec.provider, f"fleet {spec.name!r}: ")


def provider_called(name: str, where: str = "") -> Provider:
    """The provider of that name in fleet files. Raises EnvironmentUnfit."""
    from meshproof.clusters.embedded import provider as embedded

    match name:
        case "embedded":
            return embedded.EmbeddedProvider()
        case "existing":
            from meshproof.clusters.existing.provider import ExistingProvider

            return ExistingProvider()
        case "kind":
            from meshproof.clusters.kind.provider import KindProvider

            return KindProvider()
    raise EnvironmentUnfit(f"{where}this release does not have provider {name!r}")


def provider_for(name: str) -> Provider:
    """Who brought up the fleet of that name, as the copy of its file tells which every provider keeps with its fleet.

    A fleet that left none is the embedded provider's, which clears away whatever there is.
    """
    from meshproof.clusters.fleetfile import load
    from meshproof.clusters.places import fleet_directory

    try:
        return provider_of(load(fleet_directory(name) / KEPT))
    except EnvironmentUnfit:
        return provider_called("embedded")
