"""A good fleet file, and what one change makes wrong: (before, after, the message behind the file's name)."""

from __future__ import annotations

GOOD = """\
name: mine
provider: embedded
mesh: reference
profile: cilium
clusters:
  - {name: east, id: 1, workers: 2, nodeCIDR: 10.101.0.0/24, podCIDR: 10.141.0.0/16}
  - {name: west, id: 2, workers: 2, nodeCIDR: 10.102.0.0/24, podCIDR: 10.142.0.0/16}
serviceCIDR: 172.20.0.0/16
"""

CHANGES = [
    ("id: 2", "id: 1", "7: clusters[1].id 1 is already the id of east (line 6); give each cluster its own id"),
    (
        "name: west",
        "name: east",
        ("7: clusters[1].name east is already the name of clusters[0] (line 6); give each cluster its own name"),
    ),
    ("id: 1", "id: 0", "6: clusters[0].id is 0; use 1 to 255 (0 means no mesh)"),
    ("id: 1", "id: 256", "6: clusters[0].id is 256; use 1 to 255 (0 means no mesh)"),
    ("id: 1", "id: -1", "6: clusters[0].id is -1; use 1 to 255 (0 means no mesh)"),
    ("id: 1", "id: 010", "6: clusters[0].id is 010; write a plain whole number, or text in quotes"),
    ("id: 1", "id: 1.0", "6: clusters[0].id is 1.0; write a plain whole number, or text in quotes"),
    ("id: 1", "id: one", "6: clusters[0].id must be a whole number, not text (one)"),
    ("id: 1", "id: yes", "6: clusters[0].id must be a whole number, not yes or no (yes)"),
    ("id: 1", "id: ", "6: clusters[0].id must be a whole number, not nothing"),
    ("name: east", "name: " + "e" * 33, f"6: clusters[0].name {'e' * 33} has 33 characters; 32 are allowed"),
    ("name: east", "name: default", "6: no cluster may be named default: Cilium keeps it for a cluster without a mesh"),
    ("name: east", "name: all", "6: no cluster may be named all: the kubeconfig of all members has it"),
    (
        "name: east",
        "name: East",
        (
            "6: clusters[0].name 'East' is no name: "
            "use lower-case letters, digits and '-', with a letter or digit first and last"
        ),
    ),
    (
        "name: east",
        "name: east-",
        (
            "6: clusters[0].name 'east-' is no name: "
            "use lower-case letters, digits and '-', with a letter or digit first and last"
        ),
    ),
    ("name: east", 'name: "east\\n"', "6: clusters[0].name has a line break or control character in it"),
    ("name: east", "name: no", "6: clusters[0].name must be text, not yes or no (no); put no in quotes"),
    ("name: east", 'name: ""', "6: clusters[0].name is empty; give it a name"),
    (
        "name: mine",
        "name: ../mine",
        ("1: name '../mine' is no name: use lower-case letters, digits and '-', with a letter or digit first and last"),
    ),
    (
        "name: mine",
        "nmae: mine",
        ("1: a fleet file has no key nmae; did you mean name?\nf.yaml:1: the fleet has no name; add it"),
    ),
    (
        "podCIDR: 10.141",
        "podCidr: 10.141",
        (
            "6: clusters[0] (east) has no podCIDR; add it\n"
            "f.yaml:6: clusters[0] has no key podCidr; did you mean podCIDR?"
        ),
    ),
    (
        "id: 1",
        "id: 1, colour: red",
        ("6: clusters[0] has no key colour; known keys are name, id, workers, nodeCIDR, podCIDR, serviceCIDR"),
    ),
    ("id: 1", "id: 1, id: 3", "6: clusters[0].id is given twice (first on line 6); keep one"),
    (
        "serviceCIDR: 172.20.0.0/16",
        "serviceCIDR: 172.20.0.0/16\nname: other",
        "9: name is given twice (first on line 1); keep one",
    ),
    (
        "name: mine\n",
        "name: mine\nmaxConnectedClusters: 511\n",
        "2: maxConnectedClusters is not built yet; ids run from 1 to 255",
    ),
    ("provider: embedded", "provider: docker", "2: provider is docker; use embedded, kind or existing"),
    ("mesh: reference", "mesh: cilium", "3: mesh cilium is not built yet"),
    ("mesh: reference", "mesh: none", "3: mesh none is built with provider kind only"),
    ("mesh: reference", "mesh: istio", "3: mesh is istio; use reference, cilium, aks-fleet or none"),
    ("profile: cilium", "profile: aks-fleet", "4: profile aks-fleet is not built yet"),
    ("profile: cilium", "profile: x", "4: profile is x; use cilium, aks-fleet or news"),
    (
        "10.102.0.0/24",
        "10.101.0.0/24",
        ("7: clusters[1].nodeCIDR 10.101.0.0/24 overlaps east's nodeCIDR 10.101.0.0/24 (line 6); choose another"),
    ),
    (
        "10.142.0.0/16",
        "10.141.128.0/17",
        ("7: clusters[1].podCIDR 10.141.128.0/17 overlaps east's podCIDR 10.141.0.0/16 (line 6); choose another"),
    ),
    (
        "10.141.0.0/16",
        "10.101.0.0/16",
        ("6: clusters[0].podCIDR 10.101.0.0/16 overlaps east's nodeCIDR 10.101.0.0/24 (line 6); choose another"),
    ),
    (
        "172.20.0.0/16",
        "10.142.0.0/16",
        ("8: serviceCIDR 10.142.0.0/16 overlaps west's podCIDR 10.142.0.0/16 (line 7); choose another"),
    ),
    (
        "10.101.0.0/24",
        "100.66.0.0/24",
        (
            "6: clusters[0].nodeCIDR 100.66.0.0/24 overlaps 100.66.0.0/30, "
            "the embedded fleet's link to this machine; choose another"
        ),
    ),
    (
        "10.101.0.0/24",
        "198.51.100.0/24",
        (
            "6: clusters[0].nodeCIDR 198.51.100.0/24 overlaps 198.51.100.10/32, "
            "the host outside all clusters; choose another"
        ),
    ),
    (
        "10.101.0.0/24",
        "127.0.0.0/24",
        ("6: clusters[0].nodeCIDR 127.0.0.0/24 overlaps 127.0.0.0/8, loopback; choose another"),
    ),
    (
        "10.101.0.0/24",
        "10.101.0.0/25",
        ("6: clusters[0].nodeCIDR 10.101.0.0/25 must be /8 to /24; nodes stand at network address + 101 and up"),
    ),
    ("10.101.0.0/24", "10.101.0.7/24", "6: clusters[0].nodeCIDR 10.101.0.7/24 has host bits set; write 10.101.0.0/24"),
    (
        "10.101.0.0/24",
        "10.999.0.0/24",
        ("6: clusters[0].nodeCIDR 10.999.0.0/24 is no IPv4 network: write it like 10.101.0.0/24"),
    ),
    (
        "10.101.0.0/24",
        "10.101.0.0",
        ("6: clusters[0].nodeCIDR '10.101.0.0' is no IPv4 network; write it like 10.101.0.0/24"),
    ),
    ("10.101.0.0/24", '"fd00::/64"', "6: clusters[0].nodeCIDR fd00::/64 is not IPv4; IPv6 is not built yet"),
    (
        "10.141.0.0/16",
        "10.141.0.0/24",
        ("6: clusters[0].podCIDR 10.141.0.0/24 has room for 1 nodes with a /24 each, but workers is 2"),
    ),
    (
        "172.20.0.0/16",
        "172.20.0.0/28",
        (
            "8: serviceCIDR 172.20.0.0/28 must be /12 to /24; "
            "the API server takes none wider, and the suite needs some room"
        ),
    ),
    ("workers: 2", "workers: 0", "6: clusters[0].workers is 0; use 1 to 154 (they stand at .101 to .254)"),
    ("workers: 2", "workers: 155", "6: clusters[0].workers is 155; use 1 to 154 (they stand at .101 to .254)"),
    (
        "serviceCIDR: 172.20.0.0/16\n",
        "",
        (
            "6: clusters[0] (east) has no serviceCIDR, and neither has the fleet; add one\n"
            "f.yaml:7: clusters[1] (west) has no serviceCIDR, and neither has the fleet; add one"
        ),
    ),
    ("  - {name: west", "  # {name: west", "5: clusters has 1 of the 2 or more members that make a mesh"),
    ("name: mine", "name: &a mine\nprovider: *a", "2: *a is a YAML alias; write the value out"),
    (
        "name: mine",
        "name: !!python/name:os.system mine",
        "1: name has the YAML tag tag:yaml.org,2002:python/name:os.system; leave tags out",
    ),
    ("name: mine", "name: mine\n<<: {}", "2: '<<' cannot be a key in the top level; keys are plain words"),
    (
        "name: mine",
        "name: mine\n? [a]\n: b",
        ("2: a list or mapping cannot be a key in the top level; keys are plain words"),
    ),
    ("name: mine", "name: [mine", "2: this is not YAML: expected ',' or ']', but got ':'"),
    ("name: mine", "name: mi\x07ne", "1: character U+0007 is not allowed in YAML"),
    ("serviceCIDR: 172.20.0.0/16", "---\na: b", "8: a second document starts here; keep one per file"),
    ("name: mine", "name: " + "[" * 200, "1: nested more than 8 levels deep"),
]
