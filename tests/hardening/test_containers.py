"""No service runs as root, writes its root file system, or holds a capability: seen from inside the running containers."""

import json
import os

import pytest

from tests.hardening.inspection import WRITES_ROOT, cis_findings, docker, inspect, process_rights, root_processes, root_writes
from tools.stack import Stack

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LAB_ENABLED="1")]

# All services that go on running. `preflight` and `migrate` run once; what the engine says of them is enough.
SERVICES = ("gateway", "app", "database", "downstream")
ONE_SHOT = ("preflight", "migrate")


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_runs_as_root(stack: Stack, service: str) -> None:
    assert root_processes(stack, service) == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_holds_or_can_get_a_capability(stack: Stack, service: str) -> None:
    assert process_rights(stack, service) == []


@pytest.mark.parametrize("service", SERVICES)
def test_even_root_cannot_write_the_root_file_system(stack: Stack, service: str) -> None:
    assert root_writes(stack, service) == ""


def test_the_same_probes_show_the_harm_in_a_container_without_these_settings(stack: Stack) -> None:
    """The negative twin: the very image of the app, started as `docker run` would."""
    image = inspect(stack, "app")["Image"]
    probe = f"{WRITES_ROOT}; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"
    answer = docker("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh", image, "-c", probe).stdout

    assert "wrote /etc" in answer
    assert "wrote /srv" in answer
    assert "NoNewPrivs:\t0" in answer
    assert "CapEff:\t0000000000000000" not in answer


@pytest.mark.parametrize("service", [*SERVICES, *ONE_SHOT])
def test_the_engine_holds_each_service_to_the_points_of_the_benchmark(stack: Stack, service: str) -> None:
    assert cis_findings(inspect(stack, service), one_shot=service in ONE_SHOT) == []


def test_a_container_without_these_settings_breaks_most_of_them(stack: Stack) -> None:
    """The twin: the very image, started as `docker run` would; and one that was given away altogether."""
    image, name = inspect(stack, "app")["Image"], f"kit-bare-{os.getpid()}"
    given_away = ["--privileged", "--network", "host", "--pid", "host", "--ipc", "host", "--uts", "host", "--user", "0"]
    given_away += ["--volume", "/etc:/host:ro", "--env", "DATABASE_PASSWORD=planted", "--device", "/dev/null"]
    findings = []
    for options in ([], given_away):
        created = docker("create", "--name", name, *options, image)
        assert created.returncode == 0, created.stderr
        findings.append(cis_findings(json.loads(docker("inspect", name).stdout)[0]))
        docker("rm", "--volumes", name)

    bare, worst = ({finding.split()[0] for finding in found} for found in findings)
    assert bare >= {"5.4", "5.11", "5.12", "5.13", "5.26", "5.29", "5.30"}
    assert worst >= {"4.1", "4.10", "5.4", "5.5", "5.6", "5.10", "5.16", "5.17", "5.18", "5.21"}


def test_only_the_gateway_publishes_a_port_and_only_on_loopback(stack: Stack) -> None:
    published = {service: inspect(stack, service)["HostConfig"]["PortBindings"] for service in SERVICES}

    assert [service for service, ports in published.items() if ports] == ["gateway"]
    assert [binding["HostIp"] for binding in published["gateway"]["8080/tcp"]] == ["127.0.0.1"]


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


def test_the_database_is_reached_by_the_app_and_not_by_the_gateway(stack: Stack) -> None:
    from_app = stack.exec("app", ["python", "-c", CONNECT, "database", "5432"])
    address = next(iter(inspect(stack, "database")["NetworkSettings"]["Networks"].values()))["IPAddress"]
    container = inspect(stack, "gateway")["Id"]
    by_name = docker("exec", container, "getent", "hosts", "database")
    # The app's image in the gateway's network: the gateway's own has no client to try with.
    image = inspect(stack, "app")["Image"]
    by_address = docker(
        "run", "--rm", "--network", f"container:{container}", "--entrypoint", "python", image, "-c", CONNECT, address, "5432"
    )

    assert from_app.returncode == 0, from_app.stderr
    assert by_name.returncode != 0
    assert by_address.returncode != 0
    assert "Error" in by_address.stderr


@pytest.mark.parametrize("service", ["waf", "database", "downstream"])
def test_what_is_neither_gateway_nor_app_has_no_route_out(stack: Stack, service: str) -> None:
    routes = stack.exec(service, ["cat", "/proc/net/route"]).stdout.splitlines()[1:]

    assert routes
    assert [route for route in routes if route.split()[1] == "00000000"] == []


def test_secrets_are_files_that_only_their_readers_can_read(stack: Stack) -> None:
    key = stack.exec("app", ["cat", "/run/secrets/app/secret_key"]).stdout
    password = stack.exec("app", ["cat", "/run/secrets/database/database_password"]).stdout
    in_database = stack.exec("database", ["cat", "/run/secrets/database/database_password"]).stdout

    assert len(key) >= 32
    assert len(password) >= 32
    assert key != password
    assert in_database == password
    assert stack.exec("database", ["ls", "/run/secrets/app"]).returncode != 0
    assert stack.exec("gateway", ["ls", "/run/secrets"]).returncode != 0
    everything = stack.logs() + "".join(json.dumps(inspect(stack, service)) for service in [*SERVICES, *ONE_SHOT])
    assert key not in everything
    assert password not in everything
