"""compose/sticky.yaml: a visitor stays with a container, until that is gone."""

import http.cookies
import socket
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.nginx.containers import Site, docker
from tests.nginx.gateway import Answer, Gateway

pytestmark = pytest.mark.runtimes("compose")
MOUNT = ("--volume", f"{Path(__file__).parents[2] / 'compose' / 'sticky.conf'}:/etc/nginx/snippets/app-sticky.conf:ro")


def cookie(answer: Answer) -> str:
    """The header with which a browser would come back."""
    jar = http.cookies.SimpleCookie("; ".join(answer.values("Set-Cookie")))
    return "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())


def answering(gateway: Gateway, *headers: str) -> set[str]:
    return {gateway.get("/", *headers).body.decode() for _ in range(8)}


def test_a_visitor_stays_with_a_container_until_it_is_gone(site: Site) -> None:
    """And without the overlay goes to all of them."""
    hosts = {site.backend(), site.backend()}
    plain, sticky = site.gateway().client(), site.gateway(*MOUNT).client()
    wait_until(lambda: [answering(gateway) for gateway in (plain, sticky)] == [hosts, hosts], "both know both")
    first = sticky.get("/")
    home = first.body.decode()

    assert answering(plain, f"Cookie: {cookie(first)}") == hosts
    assert answering(sticky, f"Cookie: {cookie(first)}") == {home}

    docker("stop", home)
    moved = sticky.get("/", f"Cookie: {cookie(first)}")
    assert (moved.status, moved.body.decode()) == (200, (hosts - {home}).pop())
    assert cookie(moved) != cookie(first)


def test_a_visitor_moves_on_from_a_container_that_is_full(site: Site) -> None:
    """One that has all requests that it may have in flight (MAX_IN_FLIGHT) is as good as gone; when it has room, the cookie holds again."""
    hosts = {site.backend(), site.backend()}
    sticky = site.gateway(*MOUNT, "--env", "MAX_IN_FLIGHT=6").client()  # one for each container
    wait_until(lambda: answering(sticky) == hosts, "it knows both")
    first = sticky.get("/")
    home, comes_back = first.body.decode(), f"Cookie: {cookie(first)}"
    assert answering(sticky, comes_back) == {home}

    with socket.create_connection(("127.0.0.1", sticky.port)) as reader:
        reader.sendall(f"GET /large HTTP/1.1\r\nHost: localhost\r\n{comes_back}\r\n\r\n".encode())
        assert reader.recv(16)  # and no more
        assert answering(sticky, comes_back) == hosts - {home}

    wait_until(lambda: answering(sticky, comes_back) == {home}, "it has room again")
