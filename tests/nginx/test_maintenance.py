"""Maintenance and the user's own error pages."""

from pathlib import Path

import pytest

from tests.nginx.conftest import Gateways
from tests.nginx.gateway import Gateway
from tests.nginx.test_errors import HTML, JSON, is_page, is_problem

OWN = '<!doctype html><title>ours</title><p><!--#echo var="status" --> <!--#echo var="kit_request_id" -->\n'


def switch(gateway: Gateway, *, on: bool) -> None:
    file = gateway.folder / "maintenance" / "on"
    file.touch() if on else file.unlink()


def test_everybody_gets_the_page_until_it_is_off(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend, {"MAINTENANCE_ALLOW": "192.0.2.0/24, 2001:db8::/32"})
    assert gateway.get("/").status == 200

    switch(gateway, on=True)
    page, problem = gateway.get("/", HTML), gateway.request("POST", "/api/entries", body=b"{}")
    assert is_page(page, 503)
    assert is_problem(problem, 503)
    assert b"worked on" in page.body
    assert page.values("Retry-After") == problem.values("Retry-After") == ["300"]
    assert gateway.get("/healthz").status == 200

    switch(gateway, on=False)
    assert gateway.get("/").status == 200


def test_a_list_of_addresses_and_static_files_pass(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend, {"MAINTENANCE_ALLOW": "192.0.2.0/24,127.0.0.1", "HEALTH_PATH": "/hello"})
    strict = start_gateway(echo_backend, {"MAINTENANCE_ALLOW": "192.0.2.0/24", "HEALTH_PATH": "/hello"})
    (strict.folder / "static" / "app.css").write_text("body{}")
    for each in (gateway, strict):
        switch(each, on=True)

    assert gateway.get("/").status == 200
    assert [strict.get(path).status for path in ("/", "/healthz", "/hello", "/hello/x", "/static/app.css")] == [503, 503, 200, 503, 200]


@pytest.mark.parametrize("path", ["/readyz", "/" + "a" * 100])
def test_any_health_path_passes(start_gateway: Gateways, echo_backend: str, path: str) -> None:
    gateway = start_gateway(echo_backend, {"HEALTH_PATH": path})
    switch(gateway, on=True)

    assert [gateway.get(asked).status for asked in (path, path + "/")] == [200, 503]


@pytest.mark.parametrize("allow", ["everybody", "0.0.0.0/0", "10.0.0.1; return 200"])
def test_a_list_that_is_none_is_refused(tmp_path: Path, allow: str) -> None:
    from tests.nginx.gateway import check

    done = check(tmp_path, {"MAINTENANCE_ALLOW": allow})

    assert done.returncode == 2
    assert "write addresses or networks" in done.stderr


def test_own_pages_go_before_the_kits(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend)
    pages = gateway.folder / "conf" / "errors"
    for name in ("421.html", "maintenance503.html"):
        (pages / name).write_text(OWN)
    (pages / "421.json").write_text('{"ours":<!--#echo var="status" -->}')
    answer, problem = gateway.get("/", HTML, host="evil.example"), gateway.get("/", JSON, host="evil.example")

    assert answer.status == 421
    assert answer.body.startswith(b"<!doctype html><title>ours</title><p>421 ")
    assert answer.values("Content-Type") == ["text/html; charset=utf-8"]
    assert (problem.status, problem.json()) == (421, {"ours": 421})
    assert problem.values("Content-Type") == ["application/problem+json"]
    assert is_page(gateway.get("/" + "x" * 8200), 414)  # has no page of its own
    switch(gateway, on=True)
    assert b"<title>ours</title><p>503 " in gateway.get("/", HTML).body
    assert is_problem(gateway.get("/", JSON), 503)


def test_nobody_reaches_the_pages_from_outside(start_gateway: Gateways, echo_backend: str) -> None:
    gateway = start_gateway(echo_backend)

    assert [gateway.get(f"/.kit-error/{name}").status for name in (".html", "maintenance.html", "..html", "page.html", "")] == [404] * 5
