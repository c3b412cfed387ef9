"""A fleet file is accepted whole, or refused with file, line and one sentence a problem."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from meshproof.clusters import fleetfile
from meshproof.clusters.fleet import EnvironmentUnfit
from tests.wrong_fleet_files import CHANGES, GOOD


def refusal(path: Path) -> str:
    """The message with which this file is refused, with the file's name for its path."""
    with pytest.raises(fleetfile.FleetFileError) as caught:
        fleetfile.load(path)
    return str(caught.value).replace(str(path), "f.yaml")


def refused(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "fleet.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return refusal(path)


@pytest.mark.parametrize("name", ["two", "three", "six", "three-service-cidrs", "kind-two"])
def test_every_built_in_fleet_loads(name: str) -> None:
    """A built-in fleet is a valid file whose name inside is its name outside."""
    assert name in fleetfile.built_in()
    assert fleetfile.load(fleetfile.resolve(name)).name == name


def test_a_good_file_becomes_its_spec(tmp_path: Path) -> None:
    """Every key arrives, and a member's own service network wins over the fleet's."""
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("10.142.0.0/16}", "10.142.0.0/16, serviceCIDR: 172.21.0.0/16}"))
    spec = fleetfile.load(path)
    assert (spec.name, spec.provider, spec.mesh, spec.profile, spec.source) == (
        *("mine", "embedded", "reference", "cilium"),
        path,
    )
    east, west = spec.clusters
    assert (east.name, east.id, east.workers, east.node_cidr, east.pod_cidr, east.service_cidr) == (
        *("east", 1, 2, "10.101.0.0/24", "10.141.0.0/16"),
        "172.20.0.0/16",
    )
    assert west.service_cidr == "172.21.0.0/16"


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    """A file that an editor saved differently says the same."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert fleetfile.load(path).name == "mine"


@pytest.mark.parametrize(("before", "after", "message"), CHANGES, ids=[f"{n}" for n in range(len(CHANGES))])
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    """Each wrong thing is told in one sentence behind file:line."""
    assert before in GOOD
    assert refused(tmp_path, GOOD.replace(before, after, 1)) == f"f.yaml:{message}"


def test_what_is_no_fleet_file_at_all_is_refused(tmp_path: Path) -> None:
    """Empty, missing, unreadable and foreign files get one clear sentence each."""
    assert refused(tmp_path, "") == "f.yaml: the file is empty"
    assert refused(tmp_path, "# only a comment\n") == "f.yaml: the file is empty"
    assert refused(tmp_path, "- a\n- b\n") == "f.yaml:1: the top level must be a mapping (key: value), not a list"
    assert refused(tmp_path, "just words\n") == (
        "f.yaml:1: the top level must be a mapping (key: value), not text (just words)"
    )
    assert refused(tmp_path, b"name: mine\nmesh: \xff\n") == "f.yaml:2: byte 0xff is not UTF-8"
    assert refused(tmp_path, "#" * 70_000) == "f.yaml: the file is larger than 64 KiB"
    assert refusal(tmp_path) == "f.yaml: this is a directory, not a file"
    assert refusal(tmp_path / "gone.yaml") == "f.yaml: cannot read it: No such file or directory"
    assert refusal(Path("/dev/zero")) == "f.yaml: this is not a regular file"
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "f.yaml: this is not a regular file"


def test_a_yaml_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """Aliases that would expand to gigabytes are refused before anything expands."""
    bomb = "b0: &b0 [x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"b{n}: &b{n} [{','.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert refused(tmp_path, bomb) == "f.yaml:2: *b0 is a YAML alias; write the value out"


def test_several_problems_come_together_but_not_too_many(tmp_path: Path) -> None:
    """At most three problems are told, in file order, and how many more there are."""
    message = refused(tmp_path, GOOD.replace("id: ", "ib: ").replace("mesh: reference", "mesh: x"))
    assert message.splitlines() == [
        "f.yaml:3: mesh is x; use reference, cilium, aks-fleet or none",
        "f.yaml:6: clusters[0] (east) has no id; add it",
        "f.yaml:6: clusters[0] has no key ib; did you mean id?",
        "f.yaml: and 2 more problems",
    ]


def test_one_problem_more_is_one_problem(tmp_path: Path) -> None:
    """The count of what is not told agrees with its noun."""
    message = refused(tmp_path, GOOD.replace("id: ", "ib: "))
    assert message.splitlines()[-1] == "f.yaml: and 1 more problem"


def test_an_unknown_bare_name_lists_the_built_in_fleets() -> None:
    """A typing error in a fleet's name is answered with the names there are."""
    with pytest.raises(EnvironmentUnfit, match=r"there is no fleet 'tow'.*two, three, kind-two, three-service-cidrs"):
        fleetfile.resolve("tow")


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_just_unknown(name: str) -> None:
    """Too long for a file system, or with a zero in it."""
    with pytest.raises(EnvironmentUnfit, match="there is no fleet 'a"):
        fleetfile.resolve(name)


def test_a_path_stays_a_path(tmp_path: Path) -> None:
    """What looks like a path, or is a file here, is not taken for a built-in name."""
    assert fleetfile.resolve("two.yaml") == Path("two.yaml")
    assert fleetfile.resolve(str(tmp_path / "mine")) == tmp_path / "mine"


def test_the_published_schema_is_a_schema_and_accepts_the_built_in_fleets() -> None:
    """Editors that use the published schema agree with meshproof about good files."""
    schema = json.loads(Path(fleetfile.__file__).with_name("fleetfile.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    for name in fleetfile.built_in():
        Draft202012Validator(schema).validate(yaml.safe_load(fleetfile.resolve(name).read_text()))


@settings(deadline=None, max_examples=60)  # the first one imports
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_our_own_words(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """No sequence of bytes makes the reader fail in any other way than a sentence that starts with the file."""
    path = tmp_path_factory.mktemp("any") / "fleet.yaml"
    path.write_bytes(raw)
    assert refusal(path).startswith("f.yaml:")


SIMPLE: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers(-1, 300) | st.floats() | st.text(max_size=12)
VALUES: st.SearchStrategy[Any] = SIMPLE | st.just([]) | st.just({})
PLACES = st.sampled_from(["name", "mesh", "clusters", "serviceCIDR", (0, "id"), (0, "podCIDR"), (1, "name"), (1, None)])


@settings(deadline=None, max_examples=60)
@given(PLACES, VALUES)
def test_any_value_in_any_place_is_accepted_or_refused_with_a_line(
    tmp_path_factory: pytest.TempPathFactory, place: Any, value: Any
) -> None:
    """A good file with one value exchanged loads, or is refused with a line; nothing else happens."""
    data = copy.deepcopy(yaml.safe_load(GOOD))
    match place:
        case (int(member), None):
            data["clusters"][member] = value
        case (int(member), key):
            data["clusters"][member][key] = value
        case key:
            data[key] = value
    path = tmp_path_factory.mktemp("any") / "fleet.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    try:
        fleetfile.load(path)
    except fleetfile.FleetFileError as error:
        assert all(problem.line > 0 for problem in error.problems)  # noqa: PT017  # most values must raise, some need not


KIND = (fleetfile.FLEETS / "kind-two.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("nodeCIDR: 10.111.0.0/24 ", "#", "the fleet has no nodeCIDR; with provider kind one network has the nodes"),
        ("workers: 2, pod", "workers: 2, nodeCIDR: 10.9.0.0/24, pod", "with provider kind all nodes stand in"),
        ("nodeCIDR: 10.111.0.0/24", "nodeCIDR: 10.151.9.0/24", "nodeCIDR 10.151.9.0/24"),
        ("provider: kind", "provider: embedded", "nodeCIDR is the fleet's with provider kind only"),
    ],
)
def test_a_kind_fleet_has_one_network_of_nodes(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    """It is the fleet's, it meets no other network, and no member has one of its own."""
    path = tmp_path / "kind.yaml"
    path.write_text(KIND.replace(old, new, 1), encoding="utf-8")
    assert sentence in refusal(path)


def test_mesh_none_is_a_kind_fleet_without_a_mesh(tmp_path: Path) -> None:
    """What installs a mesh then is somebody else."""
    path = tmp_path / "kind.yaml"
    path.write_text(KIND.replace("mesh: reference", "mesh: none"), encoding="utf-8")
    assert fleetfile.load(path).mesh == "none"
