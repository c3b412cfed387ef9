"""Images: those that Cilium runs, as meshproof's lock has them, and the one that the nodes of kind fleets are.

`list`, `save` and `load` are about Cilium's: print them, save them to one file, load that into nodes. `save` and `load`
need docker; they have not been run against a registry by us. Nodes that got their images from a file are given values
with --by-tag (meshproof values), since a file does not have the digests of the chart.

`build` makes the node image of kind fleets here, from Debian packages and Go modules; no registry is asked for
anything. What is made is cached by what it is made of: the second time is instant. `meshproof up` of a kind fleet does
the same when it has to. An Engine that had to be started for it is stopped again.

examples:
  meshproof images list --mirror registry.example/mirror
  meshproof images save cilium.tar --platform linux/amd64
  meshproof images load cilium.tar --node east-control-plane --node east-worker
  meshproof images build"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from meshproof.cli.output import add_output_option, print_json, print_table, tell

if TYPE_CHECKING:
    from meshproof.clusters.meshes.cilium.placement import Placed

NAME = "images"
HELP = "the images that Cilium runs: list, save, load; that of kind nodes: build"


def arguments(own: argparse.ArgumentParser) -> None:
    verbs = own.add_subparsers(title="what to do", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="print every image with its reference", allow_abbrev=False)
    add_output_option(listing)
    listing.set_defaults(act=_list)
    save = verbs.add_parser("save", help="pull them and write one file (docker; not run by us)", allow_abbrev=False)
    save.add_argument("archive", type=Path, metavar="FILE", help="the file to write; it must not be there yet")
    save.add_argument("--platform", default="linux/amd64", help="the one platform to save (default: linux/amd64)")
    save.set_defaults(act=_save)
    load = verbs.add_parser("load", help="load a saved file into nodes (docker; not run by us)", allow_abbrev=False)
    load.add_argument("archive", type=Path, metavar="FILE", help="a file that `images save` wrote")
    load.add_argument("--node", action="append", required=True, help="the container of a kind node; may be repeated")
    load.set_defaults(act=_load)
    for verb in (listing, save, load):
        add_release_option(verb)
    for verb in (listing, save):
        add_source_options(verb)
    add_build(verbs)


def add_build(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The verb `build`."""
    own = verbs.add_parser("build", help="have the node image of kind fleets in the Docker Engine", allow_abbrev=False)
    own.set_defaults(act=_build)


def add_release_option(own: argparse.ArgumentParser) -> None:
    """--cilium VERSION."""
    own.add_argument("--cilium", metavar="VERSION", help="a release or line of the lock (default: the pinned one)")


def add_source_options(own: argparse.ArgumentParser) -> None:
    """--mirror and --override."""
    own.add_argument(
        "--mirror", default="", metavar="HOST/PATH", help="take all images from there, same tags and digests"
    )
    own.add_argument(
        "--override", action="append", default=[], metavar="NAME=REFERENCE", help="take this image from there instead"
    )


def execute(options: argparse.Namespace) -> int:
    options.act(options)
    return 0


def _placed(options: argparse.Namespace) -> tuple[Placed, ...]:
    from meshproof.clusters.meshes.cilium.lock import lock
    from meshproof.clusters.meshes.cilium.placement import pairs, place

    release = lock().release(options.cilium) if options.cilium else lock().default
    mirror, words = getattr(options, "mirror", ""), getattr(options, "override", [])
    return place(release, mirror=mirror, overrides=pairs(words, "--override"))


def _list(options: argparse.Namespace) -> None:
    placed = _placed(options)
    if options.output == "json":
        print_json([{"name": each.image.name, "reference": each.reference} for each in placed])
    else:
        print_table(("IMAGE", "REFERENCE"), [(each.image.name, each.reference) for each in placed])


def _save(options: argparse.Namespace) -> None:
    from meshproof.clusters.meshes.cilium import archives

    placed = _placed(options)
    archives.save(placed, options.platform, options.archive, tell)
    print(
        f"{options.archive} has {len(placed)} images; load it with meshproof images load {options.archive} --node NODE"
    )


def _load(options: argparse.Namespace) -> None:
    from meshproof.clusters.meshes.cilium import archives

    archives.load(_placed(options), options.archive, options.node, tell)
    print(f"{', '.join(options.node)}: all images of {options.archive} are there")


def _build(options: argparse.Namespace) -> None:
    from meshproof.clusters.kind import engine, images
    from meshproof.clusters.kind.provider import stop_unused

    del options
    try:
        print(images.build(engine.obtain(tell), tell))
    finally:
        stop_unused(tell)
