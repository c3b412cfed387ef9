"""Clusters somebody else made, on paper: how they are found and looked at, what a run may do there, what it leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshproof.cli import main
from meshproof.clusters import fleetfile
from meshproof.clusters.existing import kubeconfigs, permissions, preflight
from meshproof.clusters.existing.preflight import Check
from meshproof.clusters.fleet import EnvironmentUnfit, Feature, Fleet
from meshproof.clusters.meshes.choice import mesh_of
from meshproof.clusters.ownership import MANAGED_BY, RUN_LABEL
from meshproof.clusters.providers import provider_of
from meshproof.fixtures.leftovers import Leftover, chosen
from tests.paper_api import PaperApi, cluster_answers, serving

CILIUM = {"cluster-name": "east", "cluster-id": "7", "clustermesh-default-global-namespace": "false"}
CONTEXTS = ("--context", "east", "--context", "west")


@pytest.fixture
def apis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, PaperApi]]:
    """Two clusters with Cilium in contexts east and west of $KUBECONFIG; fleet.yaml names them."""
    both = {
        "east": cluster_answers("u1", cilium=CILIUM),
        "west": cluster_answers("u2", cilium={**CILIUM, "cluster-id": "8"}),
    }
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with serving(both, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield both


def fleet(**given: str) -> Fleet:
    spec = fleetfile.load(kubeconfigs.fleet_file(["east", "west"], **given))
    found = provider_of(spec).find(spec)
    assert found is not None
    return found


def checks() -> dict[tuple[str, str], Check]:
    spec = fleetfile.load(kubeconfigs.fleet_file(["east", "west"]))
    return {(check.cluster, check.name): check for check in preflight.checks(spec)}


# --- naming them --------------------------------------------------------------------------------------------------


def test_contexts_stand_for_a_fleet_file(apis: dict[str, PaperApi], tmp_path: Path) -> None:
    """The same words give the same private file, which loads like any other; its clusters have short names."""
    path = kubeconfigs.fleet_file(["arn:aws:eks:eu:1:cluster/Prod_1", "all", "all "], mesh="cilium")
    assert kubeconfigs.fleet_file(["arn:aws:eks:eu:1:cluster/Prod_1", "all", "all "], mesh="cilium") == path
    spec = fleetfile.load(path)
    assert (spec.name, spec.provider, spec.mesh, spec.profile) == ("existing", "existing", "cilium", "")
    assert [c.name for c in spec.clusters] == ["arn-aws-eks-eu-1-cluster-prod-1", "all-2", "all-3"]
    assert spec.clusters[0].context == "arn:aws:eks:eu:1:cluster/Prod_1"
    assert path.stat().st_mode & 0o777 == 0o600
    for words, sentence in ((["a"], "give --context twice"), (["a", "b", "a"], "--context a is given twice")):
        with pytest.raises(EnvironmentUnfit, match=sentence):
            kubeconfigs.fleet_file(words)


def test_a_context_that_is_not_there_is_told_with_the_nearest(apis: dict[str, PaperApi], tmp_path: Path) -> None:
    """Kubeconfigs may be several; what cannot be read is told without a word of what is in it."""
    more = tmp_path / "more"
    more.write_text("contexts: [{name: north}]")
    both = Path(f"{os.environ['KUBECONFIG']}{os.pathsep}{more}{os.pathsep}{tmp_path / 'none'}")
    assert kubeconfigs.contexts(both) == ["east", "west", "north"]
    spec = fleetfile.load(kubeconfigs.fleet_file(["east", "wset"]))
    with pytest.raises(EnvironmentUnfit, match=r"has no context 'wset'; did you mean west\?"):
        provider_of(spec).find(spec)
    more.write_text("users: [{token: very-secret")
    with pytest.raises(EnvironmentUnfit) as caught:
        kubeconfigs.contexts(more)
    assert "secret" not in str(caught.value)


FILE = """\
name: mine
provider: existing
clusters:
  - {name: east, context: east, kubeconfig: kubeconfig}
  - {name: west, context: west}
"""


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            "context: west}",
            "context: west, podCIDR: 10.0.0.0/8}",
            "5: clusters[1] has no key podCIDR: of existing clusters that is found out",
        ),
        (
            "provider: existing",
            "provider: existing\nserviceCIDR: 10.0.0.0/16",
            "3: serviceCIDR of existing clusters is found out; leave it out",
        ),
        (
            "provider: existing",
            "provider: existing\nnodeCIDR: 10.0.0.0/16",
            "3: nodeCIDR of existing clusters is found out; leave it out",
        ),
        ("provider: existing", "provider: existing\nmesh: none", "3: mesh none is not built yet"),
        ("name: west,", "name: east,", "5: clusters[1].name east is already the name of clusters[0]"),
        (", context: west", "", "5: clusters[1] (west) has no context; add it"),
    ],
)
def test_a_fleet_file_names_contexts_and_nothing_it_cannot_know(
    tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    """Networks, ids and nodes are found out; mesh and profile may be said; a kubeconfig lies beside the file."""
    path = tmp_path / "fleet.yaml"
    path.write_text(FILE)
    spec = fleetfile.load(path)
    assert [c.kubeconfig for c in spec.clusters] == [str(tmp_path / "kubeconfig"), ""]
    assert (spec.mesh, spec.profile, spec.lent) == ("", "", True)
    path.write_text(FILE.replace(before, after))
    with pytest.raises(EnvironmentUnfit) as caught:
        fleetfile.load(path)
    assert f"fleet.yaml:{sentence}" in str(caught.value)


# --- finding them -------------------------------------------------------------------------------------------------


def test_what_nobody_declares_is_found_out(apis: dict[str, PaperApi]) -> None:
    """Ids, nodes, networks, mesh and version come from the clusters; what they do not tell is unknown."""
    apis["west"].say("GET /apis/networking.k8s.io/v1/servicecidrs", {"reason": "Forbidden"}, 403)
    found = fleet()
    east, west = found.spec.clusters
    assert (east.id, east.workers, east.pod_cidr, east.service_cidr, east.node_cidr) == (
        7,
        2,
        "10.1.0.0/24",
        "10.9.0.0/16",
        "",
    )
    assert (west.id, west.service_cidr) == (8, "")
    assert (found.spec.mesh, found.spec.profile) == ("cilium", "cilium")
    mesh = mesh_of(found)
    assert str(mesh.identity()) == "Cilium v1.19.4"
    assert Feature.NAMESPACE_GATE in mesh.features()
    assert mesh.lacks()[Feature.ENDPOINT_SYNC] == (
        "kube-system/cilium-config of west has no value for clustermesh-enable-endpoint-sync"
    )
    assert all(api.written() == [] for api in apis.values())


def test_a_managed_mesh_is_guessed_and_a_person_may_know_better(apis: dict[str, PaperApi]) -> None:
    """Cilium on nodes of AKS is taken for AKS Fleet's; clusters that differ are not guessed at."""
    azure = cluster_answers("u1", cilium=CILIUM, azure=True).answers["GET /api/v1/nodes"]
    apis["east"].answers["GET /api/v1/nodes"] = azure
    with pytest.raises(EnvironmentUnfit, match="east looks like aks-fleet, west looks like cilium; say it with --mesh"):
        fleet()
    assert fleet(mesh="cilium", profile="cilium").spec.mesh == "cilium"
    apis["west"].answers["GET /api/v1/nodes"] = azure
    assert (fleet().spec.mesh, fleet().spec.profile, fleet().spec.managed) == ("aks-fleet", "aks-fleet", True)


@pytest.mark.parametrize("verb", [["doctor"], ["run"], ["plan"]])
def test_one_cluster_under_two_names_is_refused(
    apis: dict[str, PaperApi], capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    """The contexts that are one cluster are named, with exit code 10, and nothing is written."""
    apis["west"].answers.update(apis["east"].answers)
    assert main([*verb, *CONTEXTS]) == 10
    out, err = capsys.readouterr()
    assert "contexts east and west are one cluster" in out + err
    assert all(api.written() in ([], ["POST /api/v1/namespaces?dryRun=All"]) for api in apis.values())


# --- looking at them ----------------------------------------------------------------------------------------------


def test_a_fit_cluster_is_told_in_full(apis: dict[str, PaperApi]) -> None:
    """Identity, version, rights, admission, nodes, mesh and policies; the one write is a dry run."""
    found = checks()
    assert [key for key, check in found.items() if not check.ok] == []
    assert "you are jane@example.com" in found["east", "identity"].seen
    assert found["east", "mesh"].seen == (
        "cilium, which it looks like, version v1.19.4, cluster-name east, cluster-id 7, "
        "clustermesh-default-global-namespace false"
    )
    assert all(api.written() == ["POST /api/v1/namespaces?dryRun=All"] for api in apis.values())


def test_what_is_amiss_is_one_sentence_and_what_to_type(apis: dict[str, PaperApi]) -> None:
    """Each problem is seen beside the others, and says what to do about it."""
    east = apis["east"]
    reviews = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def may(body: Any) -> tuple[int, Any]:
        asked = body["spec"]["resourceAttributes"]
        return 201, {"status": {"allowed": (asked["resource"], asked["verb"]) != ("pods", "watch")}}

    east.answers[reviews] = may
    east.say("POST /api/v1/namespaces", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
    denied = {"metadata": {"namespace": "default", "name": "deny"}, "spec": {"podSelector": {}}}
    east.say("GET /apis/networking.k8s.io/v1/networkpolicies", {"items": [denied]})
    wide = {"metadata": {"name": "deny-all"}, "spec": {"endpointSelector": {}}}
    east.say("GET /apis/cilium.io/v2/ciliumclusterwidenetworkpolicies", {"items": [wide]})
    apis["west"].say("GET /api/v1/namespaces/kube-system", {"reason": "Unauthorized"}, 401)
    found = checks()
    del east.answers["POST /apis/authentication.k8s.io/v1/selfsubjectreviews"]
    assert "--subject 'user:YOU'" in checks()["east", "permissions"].fix
    lacking = found["east", "permissions"]
    assert (lacking.ok, lacking.required, lacking.seen) == (False, True, "you may not watch pods")
    assert "meshproof rbac --subject 'user:jane@example.com' | kubectl --context 'east' apply -f -" in lacking.fix
    assert "enforce=baseline" in found["east", "namespace"].seen
    assert "deny-all" in found["east", "policies"].seen
    assert not found["east", "policies"].required
    assert "does not say who it is: 401" in found["west", "identity"].seen


def test_doctor_prints_a_table_or_json_and_no_secret(
    apis: dict[str, PaperApi], capsys: pytest.CaptureFixture[str]
) -> None:
    """-o json is pure JSON; neither output nor the file that the contexts stand for has a token."""
    assert main(["doctor", *CONTEXTS, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["fit"] is True
    assert main(["doctor", *CONTEXTS]) == 0
    out = capsys.readouterr().out
    assert "a run can stand on these clusters" in out
    kept = "".join(path.read_text() for path in Path("state").rglob("*") if path.is_file())
    assert "very-secret" not in out + kept


def test_words_that_do_not_go_together_are_wrong_usage(
    apis: dict[str, PaperApi], capsys: pytest.CaptureFixture[str]
) -> None:
    """A fleet and contexts at once, an override without contexts, a verb for others' clusters without any."""
    assert main(["run", "--fleet", "two", *CONTEXTS]) == 4
    assert main(["run", "--fleet", "two", "--mesh", "cilium"]) == 4
    assert main(["cleanup"]) == 4
    Path("mine.yaml").write_text(FILE)
    assert main(["down", "mine.yaml"]) == 4
    assert "never brought up or taken down" in capsys.readouterr().err
    assert main(["values", "mine.yaml"]) == 4
    assert "values need ids and networks" in capsys.readouterr().err


# --- what a run may do --------------------------------------------------------------------------------------------


def test_what_is_granted_is_what_is_asked_about() -> None:
    """The roles have exactly the lines of the table, and say whom they are for."""
    for mesh in ("", "reference", "cilium", "aks-fleet"):
        lines = permissions.needed(mesh, disruption=True)
        made = permissions.manifest(lines, "user:jane")
        granted = {
            (thing["metadata"].get("namespace", ""), rule["apiGroups"][0], rule["resources"][0], verb, name)
            for thing in made
            for rule in thing.get("rules", ())
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
        }
        asked = {
            (line.namespace, line.group, line.resource, verb, name)
            for line in lines
            for verb in line.verbs
            for name in line.names or ("",)
        }
        assert granted == asked
        assert {thing["subjects"][0]["name"] for thing in made if "subjects" in thing} == {"jane"}
    assert not [line for line in permissions.needed("cilium") if {"*", "secrets"} & {line.resource, *line.verbs}]


def test_rbac_prints_manifests_for_kubectl(capsys: pytest.CaptureFixture[str]) -> None:
    """The output is YAML that can be applied, with a reason for each line and the truth about what RBAC cannot hold."""
    assert main(["rbac", "--subject", "serviceaccount:ci:tester"]) == 0
    out = capsys.readouterr().out
    kinds = [each["kind"] for each in yaml.safe_load_all(out)]
    assert kinds == ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
    assert "RBAC cannot hold the ClusterRole to namespaces of ours" in out
    assert main(["rbac", "--subject", "jane"]) == 4


def test_plan_tells_what_a_run_would_do(apis: dict[str, PaperApi], capsys: pytest.CaptureFixture[str]) -> None:
    """Cases, objects, image, rights and duration, for what this mesh offers; the clusters are only read."""
    assert main(["plan", *CONTEXTS, "-o", "json", "--image", "python@sha256:abc"]) == 0
    told = json.loads(capsys.readouterr().out)
    cases = {case["requirement"]: case for case in told["cases"]}
    assert cases["DISC-01"]["runs"] == 2
    assert cases["DISC-15"]["why_not"].startswith("unsupported: kube-system/cilium-config of")
    assert cases["LB-10"]["makes"] == {"Service": 1, "ReplicaSet": 1}
    assert (told["fleet"]["mesh"], told["writes"], told["images"]) == ("cilium", "own objects", ["python@sha256:abc"])
    assert told["objects_per_cluster"]["shared"]["Deployment"] == 2
    assert 20 < told["seconds"] < 300
    assert {line["resource"] for line in told["permissions"]} >= {"namespaces", "pods/exec"}
    assert main(["plan", *CONTEXTS]) == 0
    assert "nothing has been touched" in capsys.readouterr().out
    assert all(api.written() == [] for api in apis.values())


# --- what is left -------------------------------------------------------------------------------------------------


def left(run: str, minutes: float, cluster: str = "east") -> Leftover:
    return Leftover(run, cluster, f"mp-{run}", 60 * minutes, going=False)


def test_a_run_that_may_be_under_way_is_spared() -> None:
    """The youngest namespace of a run decides in all clusters, unless the run is named or age does not matter."""
    old, young, mixed = left("a", 300), left("b", 5), [left("c", 300), left("c", 1, "west")]
    every = [old, young, *mixed]
    assert chosen(every) == ([old], [young, *mixed])
    assert chosen(every, ["c"]) == (mixed, [])
    assert chosen(every, older_than=0) == (every, [])


def test_cleanup_takes_only_what_carries_both_labels(
    apis: dict[str, PaperApi], capsys: pytest.CaptureFixture[str]
) -> None:
    """A namespace goes when it is still the one that was listed, and still ours when it is looked at again."""
    labels = {MANAGED_BY: "meshproof", RUN_LABEL: "r1"}
    ours = {"metadata": {"name": "mp-1", "uid": "n1", "labels": labels, "creationTimestamp": "2020-01-01T00:00:00Z"}}
    stolen = {"metadata": {**ours["metadata"], "name": "mp-2"}}
    east = apis["east"]
    east.say("GET /api/v1/namespaces", {"items": [ours, stolen]})
    east.say("GET /api/v1/namespaces/mp-2", {"metadata": {"name": "mp-2", "uid": "n2", "labels": {}}})
    east.say("GET /api/v1/namespaces/mp-1", ours)

    def gone(body: Any) -> tuple[int, Any]:
        del east.answers["GET /api/v1/namespaces/mp-1"]
        return 200, {}

    east.answers["DELETE /api/v1/namespaces/mp-1"] = gone
    east.answers["DELETE /api/v1/namespaces/mp-2"] = lambda body: pytest.fail("it is not ours")
    assert main(["cleanup", *CONTEXTS, "--dry-run", "-o", "json"]) == 0
    assert [one["namespace"] for one in json.loads(capsys.readouterr().out)["would_remove"]] == ["mp-1", "mp-2"]
    assert east.written() == []
    from meshproof.cli import cleanup

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleanup, "GONE_SECONDS_MAX", 0.5)
        assert main(["cleanup", *CONTEXTS]) == 1
    assert "mp-2 could not be deleted in cluster east: it does not carry our labels" in capsys.readouterr().err
    assert east.written() == ["DELETE /api/v1/namespaces/mp-1"]
    assert {"preconditions": {"uid": "n1"}} in east.bodies
