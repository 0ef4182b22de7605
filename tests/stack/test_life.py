"""A local stack from its start to its end, and what is left of it."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import psutil
import pytest

from tools.local import session
from tools.local.stack import LocalStack
from tools.stack import StackError, open_stack
from tools.stack.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., CompletedProcess[str]]
TIMEOUT_S = 120


def folder(name: str) -> Path:
    return ROOT / ".run" / name


def processes_of(name: str) -> list[psutil.Process]:
    """Every process of a running stack."""
    return session.processes(folder(name) / "run")


def kill_supervisord(name: str) -> None:
    leader = session.supervisord(folder(name) / "run")
    assert leader
    leader.kill()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def nothing_is_left(name: str, processes: list[psutil.Process], port: int) -> None:
    assert alive(processes) == []
    assert sorted(path.name for path in folder(name).glob("*")) in ([], ["data"])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def without_privileges(processes: list[psutil.Process], said: str) -> None:
    """Another user than root runs them, where that one can read the files."""
    owners = {process.uids().real for process in processes}
    assert len(owners) == 1
    if os.geteuid() == 0 and "the processes run as root too" not in said:
        assert 0 not in owners
    else:
        assert owners == {os.geteuid()}


def test_up_prints_what_runs_and_down_leaves_nothing_behind(run: Command, name: str, free_port: int) -> None:
    up = run("up", LAB_ENABLED="1")
    assert up.returncode == 0, up.stdout + up.stderr
    assert up.stdout.splitlines()[0] == "Runtime: local, because it was asked for."
    assert "Differs from Compose: SQLite instead of PostgreSQL" in up.stdout
    assert up.stdout.splitlines()[-1] == f"Ready: http://127.0.0.1:{free_port}"
    assert httpx.get(f"http://127.0.0.1:{free_port}/readyz").status_code == 200

    status = run("status")
    assert status.returncode == 0
    waf = [] if "There is NO web application firewall" in up.stdout else ["waf"]
    assert [line.split()[0] for line in status.stdout.splitlines()[1:-1]] == ["gateway", *waf, "app", "app", "app", "downstream"]

    processes = processes_of(name)
    assert len(processes) >= 9  # supervisord, nginx and its worker, three times gunicorn and its worker, downstream
    without_privileges(processes, up.stdout)

    down = run("down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert "its database and secrets are kept" in down.stdout
    nothing_is_left(name, processes, free_port)
    assert sorted(path.name for path in (folder(name) / "data").glob("secret_key")) == ["secret_key"]

    assert "nothing of it is left" in run("down", "--volumes").stdout
    assert not folder(name).exists()


def test_the_database_and_the_secret_outlive_the_processes(local: LocalStack, name: str) -> None:
    local.up()
    secret = (folder(name) / "data" / "secret_key").read_text()
    created = httpx.post(f"{local.url}/api/entries", json={"name": "Ada", "message": "kept"}, headers={"Idempotency-Key": "a" * 16})
    assert created.status_code == 201, created.text

    local.down()
    local.up()

    assert "kept" in httpx.get(f"{local.url}/api/entries").text
    assert (folder(name) / "data" / "secret_key").read_text() == secret
    # Its user alone may read it.
    assert (folder(name) / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
    assert (folder(name) / "data").stat().st_mode & 0o777 == 0o700


def test_up_again_and_impossible_scales_change_nothing_and_say_so(local: LocalStack, run: Command) -> None:
    local.up()
    before = local.processes()

    again = run("up", APP_REPLICAS="5")

    assert again.returncode == 0
    assert "runs already, with the settings it was started with" in again.stdout
    assert local.processes() == before

    for service, count in (("gateway", 2), ("app", 0), ("app", 33)):
        with pytest.raises(StackError, match=r"the local runtime can scale app|instances are not from 1 to"):
            local.scale(service, count)
    assert local.processes() == before


def test_scale_goes_by_the_settings_of_up_and_writes_where_the_processes_cannot(run: Command, name: str) -> None:
    assert run("up", APP_REPLICAS="1", MAX_CONTENT_LENGTH="4096", URL_PREFIX="/shop", WAF_MODE="Off").returncode == 0
    assert run("scale", "app", "2").returncode == 0
    config = open_stack("local", name=name).nginx_config()

    assert "client_max_body_size 4096;" in config
    assert "location = /shop/healthz {" in config
    assert "max_conns=32" in config  # 128, of two instances in two sets each
    assert {path.stat().st_uid for path in (folder(name) / "conf").rglob("*")} == {os.geteuid()}
    assert all(process.uids().real == (folder(name) / "run").stat().st_uid for process in processes_of(name))


def test_an_app_that_cannot_start_is_reported_with_its_last_words(run: Command, name: str, free_port: int) -> None:
    answer = run("up", GUNICORN_CMD_ARGS="--pid /no/such/folder/pid")

    assert answer.returncode == 1
    assert "stack: app-" in answer.stderr.splitlines()[-1]
    assert "ended while it was starting" in answer.stderr.splitlines()[-1]
    assert "/no/such/folder" in answer.stderr
    nothing_is_left(name, [], free_port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stack_that_is_interrupted_while_it_starts_is_cleared_up(name: str, free_port: int, number: int) -> None:
    from tests.stack.conftest import command_line, environment

    # It waits for an answer that does not come, so the signal finds it half started.
    env = environment({"GATEWAY_PORT": str(free_port), "HEALTH_PATH": "/nowhere"})
    with subprocess.Popen(command_line("up", name=name), cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
        wait_until(lambda: processes_of(name) != [], TIMEOUT_S, "supervisord was not started")
        processes = processes_of(name)
        up.send_signal(number)
        up.wait(TIMEOUT_S)

    assert up.returncode == 1
    nothing_is_left(name, processes, free_port)


def test_a_killed_instance_starts_again_while_the_others_serve(local: LocalStack) -> None:
    local.up()
    victim = next(unit for unit in local.processes() if unit.service == "app")

    os.kill(int(victim.id), signal.SIGKILL)

    assert httpx.get(f"{local.url}/readyz").status_code == 200
    wait_until(lambda: replaced(local, victim.id, victim.address), TIMEOUT_S, "supervisor did not start it again")
    wait_until(lambda: answers(f"http://{victim.address}/healthz"), TIMEOUT_S, "the new process does not answer")


def replaced(stack: LocalStack, pid: str, address: str) -> bool:
    return any(unit.address == address and unit.id != pid and unit.state == "running" for unit in stack.processes())


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_down_ends_what_a_killed_supervisor_left_behind(local: LocalStack, name: str, free_port: int) -> None:
    local.up()
    processes = processes_of(name)
    kill_supervisord(name)
    wait_until(lambda: local.processes() == [], TIMEOUT_S, "supervisord does not end")
    assert httpx.get(f"{local.url}/healthz").status_code == 200  # orphans serve on: this is what down must find

    local.down()

    nothing_is_left(name, processes, free_port)


def test_up_replaces_what_a_killed_supervisor_left_behind(local: LocalStack, name: str) -> None:
    local.up()
    processes = processes_of(name)
    kill_supervisord(name)
    wait_until(lambda: local.processes() == [], TIMEOUT_S, "supervisord does not end")

    local.up()

    assert alive(processes) == []
    assert httpx.get(f"{local.url}/readyz").status_code == 200


def test_two_stacks_side_by_side_do_not_touch_each_other(new_name: Callable[[], str]) -> None:
    from tools.stack.machine import free_ports

    first, second = (
        open_stack("local", name=new_name(), env={"GATEWAY_PORT": str(port), "WEB_CONCURRENCY": "1", "APP_REPLICAS": "1"})
        for port in free_ports(2)
    )
    first.up()
    second.up()
    httpx.post(f"{first.url}/api/entries", json={"name": "Ada", "message": "only here"}, headers={"Idempotency-Key": "b" * 16})

    assert "only here" in httpx.get(f"{first.url}/api/entries").text
    assert "only here" not in httpx.get(f"{second.url}/api/entries").text
    first.down()
    assert httpx.get(f"{second.url}/readyz").status_code == 200
