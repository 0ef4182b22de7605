"""What a request says of itself is believed from the gateway, and from nobody else."""

import json

import pytest
from flask import Flask, Response, request

from tests.app.conftest import MakeApp

SPOOFED = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "guestbook.example"}


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An app behind a gateway in 10.0.0.0/24, with a view that tells what it takes the request for."""
    app = make_app(FORWARDED_ALLOW_IPS="10.0.0.0/24, 2001:db8::7")

    def seen() -> Response:
        return Response(json.dumps([request.remote_addr, request.scheme, request.host]))

    app.add_url_rule("/seen", view_func=seen)
    return app


def seen_from(app: Flask, peer: str, headers: dict[str, str] = SPOOFED) -> object:
    """Return what the app takes a request for that came from `peer`."""
    answer = app.test_client().get("/seen", headers=headers, environ_overrides={"REMOTE_ADDR": peer})
    return json.loads(answer.text)


@pytest.mark.parametrize("peer", ["10.0.0.5", "2001:db8::7", "::ffff:10.0.0.5"])
def test_the_gateway_is_believed_for_exactly_one_hop(app: Flask, peer: str) -> None:
    assert seen_from(app, peer) == ["203.0.113.7", "https", "guestbook.example"]


@pytest.mark.parametrize("peer", ["10.0.1.5", "127.0.0.1", "2001:db8::8", "::ffff:10.0.1.5", "", "@"])
def test_nobody_else_is_believed(app: Flask, peer: str) -> None:
    assert seen_from(app, peer) == [peer, "http", "localhost"]


def test_the_gateway_without_headers_is_itself(app: Flask) -> None:
    assert seen_from(app, "10.0.0.5", {}) == ["10.0.0.5", "http", "localhost"]


def test_a_spoofed_scheme_does_not_change_the_cookie(app: Flask) -> None:
    answer = app.test_client().get("/", headers=SPOOFED, environ_overrides={"REMOTE_ADDR": "10.0.1.5"})

    assert answer.headers["Set-Cookie"].startswith("session=")


@pytest.mark.parametrize("value", ["nan", "-1", "1e9", "t=t=1", "9" * 400, "x", "t=1.5.5"])
def test_a_malformed_time_is_left_out(app: Flask, value: str) -> None:
    answer = app.test_client().get("/healthz", headers={"X-Request-Start": value, "X-Gateway-Time": value})

    assert [part.partition(";")[0] for part in answer.headers["Server-Timing"].split(", ")] == ["app", "pool", "db"]


def test_the_times_of_the_gateway_are_passed_on(app: Flask) -> None:
    answer = app.test_client().get("/healthz", headers={"X-Request-Start": "t=99999999999", "X-Gateway-Time": "0.250"})

    assert answer.headers["Server-Timing"].startswith("nginx;dur=250.0, queue;dur=0.0, app;dur=")
