"""Forwarded headers count from the gateway alone."""

import socket
from pathlib import Path

import pytest

from gunicorn_hooks import trust
from tests.gunicorn_conf.process import Edited, Refusal, Start

STRANGER = "127.0.0.9"  # also loopback, but not an address that anybody named
HTTPS = {"X-Forwarded-Proto": "https"}


def test_by_default_loopback_is_the_gateway(start: Start) -> None:
    gunicorn = start()

    assert gunicorn.get("/", HTTPS)[1]["scheme"] == "https"
    assert gunicorn.get("/", HTTPS)[1]["environment"]["FORWARDED_ALLOW_IPS"] == "127.0.0.1,::1"


def test_a_spoofed_scheme_from_anybody_else_is_ignored(start: Start) -> None:
    _, facts = start().get("/", HTTPS, source=STRANGER)

    assert (facts["peer"], facts["scheme"]) == (STRANGER, "http")


def test_a_network_that_is_named_is_the_gateway(start: Start) -> None:
    gunicorn = start({"FORWARDED_ALLOW_IPS": "127.0.0.8/31, 10.0.0.0/8"})

    assert gunicorn.get("/", HTTPS, source=STRANGER)[1]["scheme"] == "https"
    assert gunicorn.get("/", HTTPS)[1]["scheme"] == "http"
    assert gunicorn.get("/")[1]["environment"]["FORWARDED_ALLOW_IPS"] == "127.0.0.8/31,10.0.0.0/8"


def test_the_application_is_told_whom_the_command_line_trusts(start: Start) -> None:
    gunicorn = start(arguments=["--forwarded-allow-ips", "10.9.8.7"])

    assert gunicorn.get("/")[1]["environment"]["FORWARDED_ALLOW_IPS"] == "10.9.8.7"


def test_the_command_line_cannot_trust_everybody(refusal: Refusal) -> None:
    assert "any client could claim any address" in refusal({}, "--forwarded-allow-ips", "*")


@pytest.mark.parametrize("everybody", ["*", "0.0.0.0/0", "::/0", "127.0.0.1,0.0.0.0/0", "0.0.0.0/1,128.0.0.0/1", "2000::/3"])
def test_the_whole_internet_is_refused(refusal: Refusal, everybody: str) -> None:
    assert "any client could claim any address" in refusal({"FORWARDED_ALLOW_IPS": everybody})


def test_a_header_that_nginx_does_not_overwrite_has_no_effect(start: Start) -> None:
    """A client's X-Forwarded-Ssl passes nginx and contradicts X-Forwarded-Proto."""
    gunicorn = start()

    assert gunicorn.get("/", {**HTTPS, "X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "http"})[0] == 200


def test_with_gunicorns_own_table_that_header_breaks_the_request(start: Start, edited: Edited) -> None:
    gunicorn = start(conf=edited("del secure_scheme_headers\n"))

    assert gunicorn.get("/", {**HTTPS, "X-Forwarded-Ssl": "off"})[0] == 400


def test_nobody_chooses_the_path_by_header(start: Start) -> None:
    _, facts = start().get("/real", {"SCRIPT_NAME": "/other", "PATH_INFO": "/other"})

    assert (facts["path"], facts["script"]) == ("/real", "")


def test_with_gunicorns_own_list_a_header_chooses_the_path(start: Start, edited: Edited) -> None:
    gunicorn = start(conf=edited("del forwarder_headers\n"))

    assert gunicorn.get("/real", {"SCRIPT_NAME": "/real"})[1]["script"] == "/real"


# --- In a container: the network that is shared with the gateway ------------------------------------------------------

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010013AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000013AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth1\t000014AC\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0
"""


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    path = tmp_path / "route"
    path.write_text(ROUTES)
    return path


@pytest.mark.parametrize(("address", "network"), [("172.20.0.5", "172.20.0.0/20"), ("172.19.200.1", "172.19.0.0/16")])
def test_the_network_that_holds_our_name(monkeypatch: pytest.MonkeyPatch, routes: Path, address: str, network: str) -> None:
    monkeypatch.setattr(socket, "gethostbyname", {"kit-web-app": address}.__getitem__)

    assert trust.gateway_network("kit-web-app", routes) == network


def test_an_address_of_a_network_that_is_only_routed_to_is_nobody(monkeypatch: pytest.MonkeyPatch, routes: Path) -> None:
    """The default route must not make the whole Internet the gateway."""
    monkeypatch.setattr(socket, "gethostbyname", lambda _name: "203.0.113.7")

    with pytest.raises(LookupError, match=r"203\.0\.113\.7 is on no network"):
        trust.gateway_network("kit-web-app", routes)


def test_a_name_that_nobody_has_is_refused(refusal: Refusal) -> None:
    assert refusal({"GATEWAY_NETWORK_ALIAS": "no-such-name.invalid"}).startswith("GATEWAY_NETWORK_ALIAS=no-such-name.invalid: ")
