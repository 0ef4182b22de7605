"""The Gateway API in place of the Ingress: deploy/kubernetes/gateway-api."""

from collections.abc import Callable

import pytest
import yaml

from tests.kubernetes.conftest import ROOT, SMALL, Manifests, Render, parse
from tests.kubernetes.test_manifests import verdicts
from tests.web import checkers
from tools.doctor.kubernetes import of_kind
from tools.doctor.rules import Verdict

SWITCH = (SMALL, r"\[../common\]", "[../common, ../gateway-api]")


@pytest.fixture(scope="module")
def routed(render: Render) -> str:
    """The small overlay with it."""
    return render("small", SWITCH)


@pytest.fixture(scope="module")
def gateway() -> Manifests:
    """The example for whoever runs the cluster."""
    return [yaml.safe_load((ROOT / "deploy/kubernetes/gateway-api/gateway.yaml").read_text())]


def test_routes_and_gateway_are_valid(routed: str, gateway: Manifests, not_run: Callable[[str], None]) -> None:
    """For the schemas of the first release of v1, to which later ones add."""
    if lack := checkers.lacking():
        not_run(f"not installed: {lack}; tests/run installs them, or: {checkers.INSTALL}")
    manifests = [*of_kind(parse(routed), "HTTPRoute"), *gateway]

    assert len(manifests) == 3
    assert checkers.gateway_api(manifests) == []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ((r"port: 80\}", "port: 80000}"), "/spec/rules/0/backendRefs/0/port: must be <= 65535"),
        (("sectionName: https", "section: https"), "/spec/parentRefs/0/section: unknown"),
    ],
)
def test_a_wrong_value_and_an_unknown_name_are_invalid(
    render: Render, edit: tuple[str, str], said: str, not_run: Callable[[str], None]
) -> None:
    """The twins."""
    if lack := checkers.lacking():
        not_run(f"not installed: {lack}")
    wrong = render("small", SWITCH, ("gateway-api/routes.yaml", *edit))

    assert checkers.gateway_api(of_kind(parse(wrong), "HTTPRoute")) == [said]


def test_routes_lead_from_the_gateway_to_nginx(routed: str, gateway: Manifests) -> None:
    manifests = parse(routed)
    routes = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "HTTPRoute")}
    about = gateway[0]
    listeners = {one["name"]: one for one in about["spec"]["listeners"]}
    ports = {(one["metadata"]["name"], port["port"]) for one in of_kind(manifests, "Service") for port in one["spec"]["ports"]}
    (behind,) = routes["site"]["rules"][0]["backendRefs"]
    let_in = next(one for one in of_kind(manifests, "NetworkPolicy") if one["metadata"]["name"] == "gateway")["spec"]["ingress"]

    assert of_kind(manifests, "Ingress") == []
    assert (behind["name"], behind["port"]) in ports
    assert {name: spec["hostnames"] for name, spec in routes.items()} == {"site": ["www.example.org"], "to-https": ["www.example.org"]}
    for spec in routes.values():
        (parent,) = spec["parentRefs"]
        assert (parent["name"], parent["namespace"]) == (about["metadata"]["name"], about["metadata"]["namespace"])
        assert parent["sectionName"] in listeners
    assert listeners["https"]["tls"]["certificateRefs"] == [{"name": "site-tls"}]
    name = "kubernetes.io/metadata.name"
    assert let_in[0]["from"][0]["namespaceSelector"]["matchLabels"] == {name: about["metadata"]["namespace"]}
    space = of_kind(manifests, "Namespace")[0]["metadata"]["name"]
    assert {one["allowedRoutes"]["namespaces"]["selector"]["matchLabels"][name] for one in listeners.values()} == {space}


def test_the_doctor_knows_that_a_route_publishes_the_site(render: Render, routed: str) -> None:
    assert set(verdicts(routed).values()) == {Verdict.OK}

    lab = SMALL, "- MAX_IN_FLIGHT=32", "- MAX_IN_FLIGHT=32\n  - name: settings\n    behavior: merge\n    literals: [LAB_ENABLED=1]"
    assert verdicts(render("small", SWITCH, lab))["lab-private"] is Verdict.WARN
