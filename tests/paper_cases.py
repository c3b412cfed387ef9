"""What the cases of DISC and LB would perceive, played on a paper fleet: one function a requirement.

Each returns only what its case's claims look at, so that two results differ exactly where the case would. East is
near, west is far. Limits: what needs traffic in time (loss, latency) is told by the decisions that lead to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from meshproof.clusters.meshes.reference.records import Port
from tests.paper_fleet import HTTP, UDP, Paper, Stand, pods, service, world

GLOBAL, SHARED, AFFINITY = (f"service.cilium.io/{word}" for word in ("global", "shared", "affinity"))
ON = {GLOBAL: "true"}
LEGACY = {"io.cilium/global-service": "true"}
UNSHARED, LOCAL, REMOTE = (
    {**LEGACY, f"io.cilium/{word}": said}
    for word, said in (("shared-service", "false"), ("service-affinity", "local"), ("service-affinity", "remote"))
)
EXPORTED = {"fleet.azure.com/exported": "true"}
NEAR, FAR = pods("east", True, True), pods("west", True, True)
Case = Callable[[Paper], Any]


def notes(**words: str) -> dict[str, str]:
    """Annotations of a global service."""
    return {**ON, **{f"service.cilium.io/{word}": said for word, said in words.items()}}


def both(near: Stand, far: Stand) -> dict[str, Any]:
    return {"east": world(near), "west": world(far)}


def disc_01(paper: Paper) -> Any:
    """Services and pods are put up together; every client of every node counts."""
    stands = [service(), service("old", LEGACY), service("exported", EXPORTED)]
    for ready in (False, True):
        paper.again({name: world(*((it, pods(name, ready, ready)) for it in stands)) for name in ("east", "west")})
    return [paper.uses(cluster, it.name) for cluster in ("east", "west") for it in stands]


def disc_02(paper: Paper) -> Any:
    known(paper)
    stands = [service("own"), service("old", LEGACY)]
    paper.again({"east": world(*((it, ()) for it in stands)), "west": world(*((it, FAR) for it in stands))})
    return [paper.uses("east", it.name)[1] for it in stands]


def disc_03(paper: Paper) -> Any:
    """All sixteen, as services of their own."""
    flags = list(itertools.product(("true", "false"), repeat=4))
    names = ["flow-" + "".join(said[0] for said in four) for four in flags]
    near = [service(name, {GLOBAL: four[0], SHARED: four[1]}) for name, four in zip(names, flags, strict=True)]
    far = [service(name, {GLOBAL: four[2], SHARED: four[3]}) for name, four in zip(names, flags, strict=True)]
    first = (service(), NEAR)
    paper.again({"east": world(first), "west": world((service(), FAR))})
    paper.again(
        {
            "east": world(first, *((it, NEAR) for it in near)),
            "west": world((service(), FAR), *((it, FAR) for it in far)),
        }
    )
    return {name: (paper.uses("east", name), paper.uses("west", name)) for name in names}


def disc_04(paper: Paper) -> Any:
    """Said in each dialect."""
    known(paper)
    own, old, looks = (service("own"), NEAR), (service("old", LEGACY), NEAR), []
    for far, far_old in ((ON, LEGACY), (notes(shared="false"), UNSHARED)):
        theirs = world((service("own", far), FAR), (service("old", far_old), FAR))
        paper.again({"east": world(own, old), "west": theirs})
        looks.append((paper.uses("east", "own"), paper.uses("east", "old"), paper.uses("west", "own")))
    return looks


def disc_05(paper: Paper) -> Any:
    """Unshared, and then the annotation is taken away."""
    known(paper)
    for said in (ON, notes(shared="false"), ON):
        paper.again(both((service("own"), NEAR), (service("own", said), FAR)))
    return paper.uses("east", "own"), paper.uses("west", "own")


def disc_06(paper: Paper) -> Any:
    """One name in two namespaces; in the other one only far has a pod."""
    known(paper)
    here, there, pod = service("own"), service("own", namespace="other"), pods("west", True, True, True)[2:]
    paper.again({"east": world((here, NEAR), (there, ())), "west": world((here, FAR), (there, pod))})
    return [set(each) for name in ("shop", "other") for each in paper.shares("east", "own", name)]


def disc_07(paper: Paper) -> Any:
    """What the mesh would have a name for, near, where only far has a Service."""
    known(paper)
    paper.again({"east": world((service(), NEAR)), "west": world((service(), FAR), (service("own"), FAR))})
    return paper.names["east"]


def disc_08(paper: Paper) -> Any:
    """A namespace that takes no part, and then takes part, and then in one cluster only."""
    known(paper)
    looks = []
    for said, touched in (("false", ON), ("true", {**ON, "touched": "yes"})):
        own, gates = service("own", touched, namespace="gated"), {"gated": said}
        paper.again({"east": world((own, NEAR), gates=gates), "west": world((own, FAR), gates=gates)})
        looks.append((paper.uses("east", "own", "gated"), paper.uses("west", "own", "gated")))
    half = service("half", ON, namespace="half")
    east, west = world((half, NEAR), gates={"half": "false"}), world((half, FAR), gates={"half": "true"})
    paper.again({"east": east, "west": west})
    return looks, paper.uses("east", "half", "half"), paper.uses("west", "half", "half")


def disc_09(paper: Paper) -> Any:
    """The namespace leaves the mesh, and the services are touched."""
    known(paper)
    for said, touched in (("true", ON), ("false", ON), ("false", {**ON, "touched": "yes"})):
        own, gates = service("own", touched, namespace="flips"), {"flips": said}
        paper.again({"east": world((own, NEAR), gates=gates), "west": world((own, FAR), gates=gates)})
    return paper.uses("east", "own", "flips"), paper.uses("west", "own", "flips")


def disc_10(paper: Paper) -> Any:
    """Said in each dialect."""
    known(paper)
    looks = []
    for said, old in ((ON, LEGACY), ({GLOBAL: "false"}, {"io.cilium/global-service": "false"}), (ON, LEGACY)):
        near = world((service("own"), NEAR), (service("old", LEGACY), NEAR))
        paper.again({"east": near, "west": world((service("own", said), FAR), (service("old", old), FAR))})
        looks.append([paper.uses(cluster, name) for cluster in ("east", "west") for name in ("own", "old")])
    return looks


def disc_11(paper: Paper) -> Any:
    """Three clusters: west's backends go one by one and come back; north's stay."""
    known(paper)
    north, looks = world((service("own"), pods("north", True, True))), []
    for ready in (2, 1, 0, 2):
        far = world((service("own"), FAR[:ready]))
        paper.again({"east": world((service("own"), NEAR)), "west": far, "north": north})
        looks.append(["n" in used for used in paper.uses("east", "own")])
    return looks


def disc_12(paper: Paper) -> Any:
    """Two names for one target port, one port without a name, and one of another name."""
    known(paper)
    a, b = Port("a", "TCP", 80), Port("b", "TCP", 8080)
    stands = [(service("several", ports=(a, b)), (a, b)), (service("nameless", ports=(Port("", "TCP", 80),)), ())]
    mine, theirs = service("differs"), service("differs", ports=(Port("web", "TCP", 80),))
    ports = {"several": (a, b), "nameless": (Port("", "TCP", 80),), "differs": (HTTP,)}

    def of(cluster: str, differs: Any, named: Port) -> Any:
        every = [(it, pods(cluster, True, ports=ports[it.name])) for it, _ in stands]
        return world(*every, (differs, pods(cluster, True, ports=(named,))))

    paper.again({"east": of("east", mine, HTTP), "west": of("west", theirs, Port("web", "TCP", 80))})
    used = [paper.uses("east", "several", port=80), paper.uses("east", "several", port=8080)]
    return used, paper.uses("east", "nameless"), paper.uses("east", "differs")


def disc_13(paper: Paper) -> Any:
    known(paper)
    near, looks = world((service("own", selects=False), ())), []
    for far in (world((service("own"), FAR)), world(), world((service("own"), FAR))):
        paper.again({"east": near, "west": far})
        looks.append(paper.uses("east", "own")[1:])
    return looks[0], looks[-1]


def disc_14(paper: Paper) -> Any:
    """Who gets UDP, and whether the flows to who has gone are ended."""
    known(paper)
    own = service("own", ports=(UDP,))
    paper.again(both((own, pods("east", True, ports=(UDP,))), (own, pods("west", True, ports=(UDP,)))))
    changed = {(own.address, "udp", 82): frozenset({("10.1.0.1", 8082)})}
    return paper.uses("east", "own", port=82), paper.pipeline().forget(changed)


def disc_17(paper: Paper) -> Any:
    """Near has none; one of the far pods stops being ready."""
    known(paper)
    for ready in (True, False):
        paper.again(both((service("own"), ()), (service("own"), pods("west", ready, True))))
    return [set(each) for each in paper.shares("east", "own")]


def disc_18(paper: Paper) -> Any:
    """Pods come one at a time: who answers at once?"""
    known(paper)
    return [
        len(
            paper.step(both((service("own"), ()), (service("own"), pods("west", *([True] * n))))).shares("east", "own")[
                1
            ]
        )
        for n in range(9)
    ]


def disc_19(paper: Paper) -> Any:
    own = service("own", EXPORTED)
    name = service("own--shop", {**ON, SHARED: "false"}, "fleet-services", selects=False, stands_for=own.key)
    abroad = service("abroad", EXPORTED)
    paper.again({"east": world((own, NEAR), (name, ())), "west": world((own, FAR), (name, ()), (abroad, FAR))})
    return paper.names["east"], paper.uses("east", "own--shop", "fleet-services")


def lb_01(paper: Paper) -> Any:
    return paper.again(both((service("own"), NEAR), (service("own"), FAR))).shares("east", "own")


def lb_02(paper: Paper) -> Any:
    one_to_three = both((service("own"), NEAR[:1]), (service("own"), pods("west", True, True, True)))
    shares = paper.again(one_to_three).shares("east", "own")
    return [sum(part for ip, part in each.items() if ip.startswith("10.2.")) for each in shares]


def lb_03(paper: Paper) -> Any:
    return [
        set(each) for each in paper.again(both((service("own"), NEAR), (service("own"), FAR))).shares("east", "own")
    ]


def lb_04(paper: Paper) -> Any:
    """Local while there is one, in each dialect, and then the others."""
    far, looks = (service("own"), FAR), []
    for local in (NEAR[:1], pods("east", False, True), pods("east", False)):
        paper.again(both((service("own", notes(affinity="local")), local), far), 3)
        looks.append(paper.uses("east", "own"))
    for said in (LEGACY, LOCAL):
        paper.again(both((service("own", said), NEAR), (service("own", LEGACY), FAR)), 3)
        looks.append(paper.uses("east", "own"))
    return looks


def lb_05(paper: Paper) -> Any:
    looks = []
    for remote in (FAR, pods("west", False, True), ()):
        paper.again(both((service("own", notes(affinity="remote")), NEAR), (service("own"), remote)), 3)
        looks.append(paper.uses("east", "own"))
    for said in (LEGACY, REMOTE):
        paper.again(both((service("own", said), NEAR), (service("own", LEGACY), FAR)), 3)
        looks.append(paper.uses("east", "own"))
    return looks


def lb_06(paper: Paper) -> Any:
    looks = []
    for local in (NEAR, ()):
        paper.again(both((service("own", notes(affinity="none")), local), (service("own"), FAR)))
        looks.append(paper.uses("east", "own"))
    return looks


def lb_07(paper: Paper) -> Any:
    odd = service("own", notes(affinity="nearest"))
    return paper.again(both((odd, NEAR), (service("own"), FAR))).uses("east", "own")


def lb_08(paper: Paper) -> Any:
    """East prefers its own, and then the other; what does west do? That east does is the case's control."""
    looks = []
    for said in ("local", "remote"):
        paper.again(both((service("own", notes(affinity=said)), NEAR), (service("own"), FAR)))
        looks.append((paper.uses("west", "own"), paper.uses("east", "own")))
    return looks


def lb_09(paper: Paper) -> Any:
    """Whether anybody answers at each moment of the toggling, and whether a connection that was begun is ended."""
    looks = []
    for said in (notes(affinity="none"), notes(affinity="local"), notes(affinity="remote"), ON):
        paper.step(both((service("own", said), NEAR), (service("own"), FAR)))
        looks.append([bool(each) for each in paper.shares("east", "own")])
    changed = {(service("own").address, "tcp", 80): frozenset({("10.1.0.1", 8080)})}
    return looks, paper.pipeline().forget(changed)


def lb_10(paper: Paper) -> Any:
    far, prefers = (service("own"), FAR), service("own", notes(affinity="local"))
    paper.again(both((prefers, ()), far))
    return paper.again(both((prefers, NEAR[:1]), far), 3).uses("east", "own")


def lb_11(paper: Paper) -> Any:
    """For how long a client is kept to its backend, before and after another backend has left."""
    pinned, looks = service("own", session_seconds=30), []
    for far in (FAR, FAR[:1]):
        pins = paper.again(both((pinned, NEAR), (pinned, far))).rules().pins
        looks.append(set(pins.values()))
    return looks


def lb_12(paper: Paper) -> Any:
    """Nothing is promised; the control needs the far cluster."""
    return paper.again(both((service("own"), NEAR), (service("own"), FAR))).uses("east", "own")


def lb_13(paper: Paper) -> Any:
    return paper.again(both((service("own"), NEAR), (service("own"), FAR))).rules().postrouting


def known(paper: Paper) -> Paper:
    """The suite's shared service comes first, as it does in a run."""
    worlds = both((service(), NEAR), (service(), FAR))
    return paper.again(worlds | {name: world((service(), pods(name, True))) for name in paper.clusters[2:]})


THREE = ("DISC-11",)
CASES: Mapping[str, Case] = {
    name.upper().replace("_", "-"): case
    for name, case in sorted(globals().items())
    if name.startswith(("disc_", "lb_"))
}
"""Requirement -> its case on paper."""
