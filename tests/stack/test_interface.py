"""What every runtime offers, used through the same interface."""

import subprocess
import sys

import httpx
import pytest

from tests.clients import wait_until
from tests.conftest import ROOT, StackFactory
from tests.surgery import docker
from tools.stack import Stack

pytestmark = pytest.mark.stack_env(LAB_ENABLED="1", LIMITS="off")


def test_a_request_passes_through_the_gateway_to_a_ready_app(client: httpx.Client) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"]


def test_the_parts_are_listed_in_the_order_a_request_meets_them(stack: Stack) -> None:
    services = list(dict.fromkeys(unit.service for unit in stack.processes()))

    assert services == ["gateway", "waf", "app", "downstream", *(["database"] if stack.runtime == "compose" else [])]
    assert stack.replicas == 3
    assert all(unit.id and unit.address for unit in stack.processes())


def test_logs_name_the_instance_of_each_line(stack: Stack, client: httpx.Client) -> None:
    client.get("/healthz", headers={"X-Request-ID": "look-for-this-one"})

    # A line may be written after the answer was sent.
    wait_until(lambda: "look-for-this-one" in stack.logs("app"), "the app's line is in its log")
    wait_until(lambda: "look-for-this-one" in stack.logs("gateway"), "the gateway's line is in its log")
    assert stack.logs().count("look-for-this-one") >= 2
    assert all(line.startswith("gateway") for line in stack.logs("gateway").splitlines())


def test_exec_runs_beside_the_instance_that_was_asked_for(stack: Stack) -> None:
    places = {stack.exec("app", ["hostname"], index=index).stdout for index in (1, 2, 3)}

    assert len(places) == (3 if stack.runtime == "compose" else 1)  # processes share the machine
    assert stack.exec("app", ["false"]).returncode == 1
    assert stack.exec("app", ["no-such-command"]).returncode in {126, 127}


def test_the_configuration_of_nginx_can_be_read(stack: Stack) -> None:
    assert "upstream" in stack.nginx_config()
    assert "proxy_pass" in stack.nginx_config()


def test_maintenance_outlives_the_gateway(stack: Stack, client: httpx.Client) -> None:
    def switch(position: str) -> None:
        argv = [sys.executable, "-m", "tools.stack", "--runtime", stack.runtime, "--name", stack.name, "maintenance", position]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout == f"maintenance is {position}\n", done.stderr

    switch("on")
    try:
        assert client.get("/").status_code == 503
        if stack.runtime == "compose":
            (gateway,) = (unit.id for unit in stack.processes() if unit.service == "gateway")
            docker("restart", gateway)
            wait_until(lambda: answers(client, "/healthz"), "the gateway answers again", timeout_s=60)
        answer = client.get("/")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "300")
        assert client.get("/healthz").status_code == 200
    finally:
        switch("off")
    assert client.get("/").status_code == 200


def answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def test_instances_are_added_and_taken_away_while_it_runs(stack_factory: StackFactory) -> None:
    stack = stack_factory({"APP_REPLICAS": "2"})
    stack.scale("app", 4)
    assert stack.replicas == 4
    with httpx.Client(base_url=stack.url) as client:
        assert client.get("/readyz").status_code == 200
        stack.scale("app", 2)
        assert stack.replicas == 2
        assert client.get("/readyz").status_code == 200


def test_the_app_alone_is_replaced_by_fresh_instances(stack_factory: StackFactory) -> None:
    stack = stack_factory({"APP_REPLICAS": "2"})
    before = {(unit.service, unit.id) for unit in stack.processes()}
    stack.restart("app", {})
    after = {(unit.service, unit.id) for unit in stack.processes()}

    assert {service for service, _ in before & after} == {service for service, _ in before} - {"app"}
    assert stack.replicas == 2
    assert httpx.get(f"{stack.url}/readyz").status_code == 200


@pytest.mark.runtimes("compose")
def test_a_restart_may_have_other_settings(stack_factory: StackFactory) -> None:
    """Laid over what `up` was given, not over each other: without a wish the default is back."""
    stack = stack_factory({"APP_REPLICAS": "2"})
    stack.restart("app", {"GUNICORN_WORKER_CLASS": "sync"})
    assert "workers of class sync" in stack.logs("app")

    stack.restart("app", {})
    assert stack.logs("app").rpartition("workers of class ")[2].startswith("gthread")
