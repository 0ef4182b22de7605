"""The WAF as a service of its own: several of them, one that is killed, none at all, and a gateway that knows nothing of ModSecurity."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.clients import wait_until
from tools.stack import Stack
from tools.stack.base import Unit

pytestmark = pytest.mark.runtimes("compose")

ATTACK = "/?q=%3Cscript%3Ealert(1)%3C/script%3E"
# A stack of this file's own: its containers are killed and scaled.
OWN = pytest.mark.stack_env(LIMITS="off", WAF_SAMPLING="100")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def wafs(stack: Stack) -> list[Unit]:
    return [unit for unit in stack.processes() if unit.service == "waf"]


def refused_by(unit: Unit) -> int:
    """How many refusals its log has."""
    return docker("logs", unit.id).count('{"waf":"refused"')


@contextmanager
def scaled(stack: Stack, number: int) -> Iterator[None]:
    """So many WAF containers while the block runs."""
    stack.scale("waf", number)
    try:
        yield
    finally:
        stack.scale("waf", 1)


@OWN
def test_it_is_between_gateway_and_app(stack: Stack, client: httpx.Client) -> None:
    assert client.get("/").status_code == 200
    assert client.get(ATTACK).status_code == 403
    assert [unit.service for unit in wafs(stack)] == ["waf"]


@OWN
def test_two_of_them_share_the_requests(stack: Stack, client: httpx.Client) -> None:
    with scaled(stack, 2):
        assert len(wafs(stack)) == 2

        def both_have_refused() -> bool:
            assert client.get(ATTACK).status_code == 403
            return all(refused_by(unit) for unit in wafs(stack))

        wait_until(both_have_refused, "the gateway has found the second one by its name")


@OWN
def test_when_it_is_killed_requests_get_an_error_page_and_it_comes_back_by_itself(stack: Stack, client: httpx.Client) -> None:
    """Not a word of a request is passed on uninspected."""
    (unit,) = wafs(stack)
    (pid,) = json.loads(docker("inspect", "--format", "[{{.State.Pid}}]", unit.id))
    subprocess.run(["kill", "-KILL", str(pid)], check=True)

    statuses: set[int] = set()

    def is_back() -> bool:
        statuses.add(client.get("/").status_code)
        return 200 in statuses and docker("inspect", "--format", "{{.RestartCount}}", unit.id).strip() != "0"

    wait_until(is_back, "the engine has started it again")
    assert statuses <= {200, 502, 503}
    assert client.get(ATTACK).status_code == 403


@OWN
def test_nginx_interrupts_nobody(stack: Stack) -> None:
    """Neither at the gateway nor here; `make bench-gateway` shows what it brings."""
    for unit in (unit for unit in stack.processes() if unit.service in {"gateway", "waf"}):
        lines = [line.split() for line in docker("top", unit.id, "-eo", "pid,comm").splitlines()[1:]]
        policies = [os.sched_getscheduler(int(pid)) for pid, name in lines if name == "nginx"]
        assert policies == [os.SCHED_BATCH] * 2  # the master and its worker


@OWN
def test_the_reader_of_audit_lines_is_started_again(stack: Stack, client: httpx.Client) -> None:
    """Without one the pipe fills after some refusals, and every worker would stop at its next one."""
    (unit,) = wafs(stack)
    processes = [line.split(maxsplit=1) for line in docker("top", unit.id, "-eo", "pid,comm").splitlines()[1:]]
    (reader,) = [pid for pid, name in processes if name == "jq"]
    subprocess.run(["kill", "-KILL", reader], check=True)
    before = refused_by(unit)

    assert {client.get(ATTACK).status_code for _ in range(150)} == {403}
    wait_until(lambda: refused_by(unit) > before, "refusals are in the log again")


@OWN
def test_a_family_that_does_not_refuse_makes_it_unhealthy_and_is_named(stack: Stack) -> None:
    """By the engine within one interval, and in the log."""
    (unit,) = wafs(stack)
    settings = "/run/nginx/rules/main.conf"

    def reload(edit: str) -> None:
        assert stack.exec("waf", ["sh", "-c", f"{edit}; nginx -s reload"]).returncode == 0

    def health() -> str:
        return docker("inspect", "--format", "{{.State.Health.Status}}", unit.id).strip()

    assert health() == "healthy"
    reload(f"cp {settings} /run/nginx/as-it-was; echo 'SecRuleRemoveByTag attack-xss' >>{settings}")
    try:
        wait_until(lambda: health() == "unhealthy", "it says so", timeout_s=30)
        assert '{"waf":"does not refuse","rule":"941","place":"query"' in docker("logs", unit.id)
    finally:
        reload(f"cp /run/nginx/as-it-was {settings}")
    wait_until(lambda: health() == "healthy", "it is as it was", timeout_s=30)


@pytest.mark.stack_env(LIMITS="off", WAF_MODE="Off")
def test_off_goes_past_it(stack: Stack, client: httpx.Client) -> None:
    request_id = "past-the-waf-00000001"

    assert client.get(ATTACK, headers={"X-Request-ID": request_id}).status_code == 200
    (line,) = wait_until(
        lambda: [line for line in stack.logs("gateway").splitlines() if request_id in line and '"upstream"' in line], "it is logged"
    )
    assert json.loads(line[line.index("{") :])["waf"] == ""


@pytest.mark.stack_env(LIMITS="off", WAF_MODE="Off", WAF_REPLICAS="0")
def test_off_needs_none(stack: Stack, client: httpx.Client) -> None:
    assert wafs(stack) == []
    assert client.get(ATTACK).status_code == 200


@OWN
def test_the_gateways_image_holds_no_modsecurity(stack: Stack) -> None:
    find = ["find", "/", "-xdev", "-iname", "*modsec*"]

    assert stack.exec("gateway", find).stdout == ""
    assert "ngx_http_modsecurity_module.so" in stack.exec("waf", find).stdout
