"""compose/traces.yaml: one id for request and trace, for the application, the logs and the client."""

import re

import pytest

from tests.conftest import ROOT
from tests.nginx.conftest import Gateways, echo_backend
from tests.nginx.gateway import Answer, Gateway
from tools.local.nginx import Edit

__all__ = ["echo_backend"]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def traced(start_gateway: Gateways, echo_backend: str) -> Gateway:
    """A gateway with TRACES_SAMPLED=100%."""
    folder = ROOT / "compose/traces"
    texts = {
        "templates/15-request.conf.template": (folder / "gateway.conf.template").read_text(),
        "snippets/proxy-waf.conf": (folder / "proxy-traces.conf").read_text(),
    }
    return start_gateway(echo_backend, {"TRACES_SAMPLED": "100%"}, [Edit(file, r"\Z", text) for file, text in texts.items()])


def passed_on(answer: Answer) -> str:
    return str(answer.json()["headers"]["traceparent"])


def test_the_clients_trace_goes_on(traced: Gateway) -> None:
    answer = traced.get("/", f"traceparent: 00-{TRACE}-{SPAN}-00", "X-Request-ID: something-else")

    assert passed_on(answer) == f"00-{TRACE}-{SPAN}-01"  # whether it is sampled the gateway says
    assert answer.values("X-Request-ID") == [TRACE]
    assert traced.logged(TRACE)["status"] == 200


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
    ],
)
def test_another_is_made_for_what_is_none(traced: Gateway, given: str) -> None:
    answer = traced.get("/", *([f"traceparent: {given}"] if given else []))
    (request_id,) = answer.values("X-Request-ID")

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", passed_on(answer))
    assert passed_on(answer)[3:35] == request_id != TRACE


def test_a_request_id_that_could_be_one_is_the_trace(traced: Gateway) -> None:
    assert passed_on(traced.get("/", f"X-Request-ID: {TRACE}"))[3:35] == TRACE
