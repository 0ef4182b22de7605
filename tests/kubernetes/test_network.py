"""Who reaches whom, by the NetworkPolicies: an evaluation of their rules for pods of this namespace."""

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any

import pytest

from tests.kubernetes.conftest import ROOT, Manifests, Render, parse
from tools.doctor.kubernetes import of_kind

COMPONENT = "app.kubernetes.io/component"
PORTS = {"gateway": 8080, "waf": 8080, "app": 8000, "database": 5432}
ALLOWED = {("gateway", "waf"), ("gateway", "app"), ("waf", "app"), ("app", "database"), ("migrate", "database")}
Policy = Mapping[str, Any]


def selects(selector: Mapping[str, Any], pod: str) -> bool:
    named = selector.get("matchLabels", {}).get(COMPONENT, pod) == pod
    return named and all(pod in one["values"] for one in selector.get("matchExpressions", ()))


def allows(policies: list[Policy], pod: str, other: str, direction: str, port: int) -> bool:
    mine = [one["spec"] for one in policies if selects(one["spec"]["podSelector"], pod) and direction in one["spec"]["policyTypes"]]
    rules = [rule for spec in mine for rule in spec.get(direction.lower(), ())]
    side = "from" if direction == "Ingress" else "to"

    def lets(rule: Mapping[str, Any]) -> bool:
        peers = [peer["podSelector"] for peer in rule[side] if "podSelector" in peer]
        return any(selects(peer, other) for peer in peers) and port in [one["port"] for one in rule.get("ports", ())]

    return not mine or any(lets(rule) for rule in rules)


def reached(manifests: Manifests) -> Iterator[tuple[str, str]]:
    policies = of_kind(manifests, "NetworkPolicy")
    for source, target in permutations(["gateway", "waf", "app", "migrate", "database"], 2):
        port = PORTS.get(target, 1)
        if allows(policies, source, target, "Egress", port) and allows(policies, target, source, "Ingress", port):
            yield source, target


def test_pods_reach_what_they_need_and_nothing_else(render: Render) -> None:
    assert set(reached(parse(render("small")))) == ALLOWED


@pytest.mark.parametrize(
    ("old", "new", "more"),
    [
        (r"podSelector: \{\}\n", "podSelector: {matchLabels: {app.kubernetes.io/component: none}}\n", {("database", "migrate")}),
        (r"values: \[gateway, waf\]", "values: [gateway, waf, database]", set()),  # its own egress is closed
    ],
    ids=["without the default", "one side is not enough"],
)
def test_without_the_default_they_would(render: Render, old: str, new: str, more: set[tuple[str, str]]) -> None:
    assert set(reached(parse(render("small", ("base/network.yaml", old, new))))) == ALLOWED | more


def test_ports_are_those_of_the_images(manifests: Manifests) -> None:
    for file, port in {"nginx/templates/upstream/app.conf.template": 8000, "nginx/templates/upstream/waf.conf.template": 8080}.items():
        assert f"_HOST}}:{port} resolve" in (ROOT / file).read_text()
    deployments = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0] for one in of_kind(manifests, "Deployment")}
    assert {name: one["ports"][0]["containerPort"] for name, one in deployments.items()} == {n: PORTS[n] for n in deployments}


def test_nginx_gets_each_pods_address(manifests: Manifests) -> None:
    """A Service with an address of its own would hide the pods: no least_conn, no retry at another, no bound for each."""
    services = {one["metadata"]["name"]: one["spec"].get("clusterIP") for one in of_kind(manifests, "Service")}

    assert {services["app"], services["waf"]} == {"None"}
    assert services["gateway"] is None  # the cluster's own balancing is the Ingress controller's
