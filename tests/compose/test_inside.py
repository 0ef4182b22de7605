"""What the containers really are, asked from inside a running stack. Negative twins: a container without the setting."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import wait_until
from tools.stack import Stack

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env()]
RUNNING = ("gateway", "waf", "app", "database")
EVERY = (*RUNNING, "migrate", "preflight")


@pytest.fixture
def inside(stack: Stack) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function (service, shell command) that runs it in the first container of the service."""
    return lambda service, command: stack.exec(service, ["sh", "-c", command])


@pytest.fixture
def inspect(stack: Stack) -> Callable[[str], dict[str, Any]]:
    """Return a function (service) -> what the engine says of its first container, which may have ended."""

    def ask(service: str) -> dict[str, Any]:
        name = f"{stack.name}-{service}-1"
        answer = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=True)
        (facts,) = json.loads(answer.stdout)
        return facts  # type: ignore[no-any-return]

    return ask


@pytest.fixture
def app_image(stack: Stack) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function (options, command) that runs a container of the app's image to its end."""
    assert stack  # which built the image

    def run(options: list[str], command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", "run", "--rm", "--network", "none", *options, os.environ["APP_IMAGE"], *command],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


Inside = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("service", RUNNING)
class TestARunningService:
    """Rights and root file system, of the process that serves."""

    def test_is_not_root(self, inside: Inside, service: str) -> None:
        uids = re.findall(r"^(?:Uid|Gid):\s+(.*)$", inside(service, "cat /proc/1/status").stdout, re.MULTILINE)

        assert len(uids) == 2
        assert "0" not in " ".join(uids).split()

    def test_holds_no_capability_and_gains_none(self, inside: Inside, service: str) -> None:
        status = dict(re.findall(r"^(Cap\w+|NoNewPrivs|Seccomp):\s+(\w+)$", inside(service, "cat /proc/1/status").stdout, re.MULTILINE))

        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")

    def test_writes_nothing_but_its_tmpfs_and_volumes(self, inside: Inside, service: str) -> None:
        """Every file system that is mounted writable, but the kernel's own."""
        kernel = r"/(proc|sys|dev)(/(?!shm).*)?"
        mounts = [line.split() for line in inside(service, "cat /proc/1/mounts").stdout.splitlines()]
        writable = {point for _, point, kind, options, *_ in mounts if "rw" in options.split(",") and not re.fullmatch(kernel, point)}

        assert (
            writable
            == {
                "gateway": {"/dev/shm", "/run/nginx", "/run/nginx/body", "/run/nginx/proxy", "/var/lib/maintenance"},  # noqa: S108
                "waf": {"/dev/shm", "/run/nginx"},  # noqa: S108
                "app": {"/dev/shm", "/tmp"},  # noqa: S108
                "database": {"/dev/shm", "/tmp", "/run/postgresql", "/var/lib/postgresql"},  # noqa: S108
            }[service]
        )
        assert "Read-only file system" in inside(service, "touch /etc/written").stderr


@pytest.mark.parametrize("service", EVERY)
def test_the_engine_was_told_the_same_of_each(inspect: Callable[[str], dict[str, Any]], service: str) -> None:
    facts = inspect(service)

    assert facts["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert (facts["HostConfig"]["ReadonlyRootfs"], facts["HostConfig"]["CapDrop"]) == (True, ["ALL"])


def test_without_the_settings_all_of_it_would_be_otherwise(app_image: Inside) -> None:
    """The checks above can fail."""
    status = app_image(["--user", "0"], ["sh", "-c", "touch /etc/written && cat /proc/1/status"])

    assert status.returncode == 0
    assert re.search(r"^Uid:\s+0", status.stdout, re.MULTILINE)
    assert not re.search(r"^CapEff:\s+0{16}$", status.stdout, re.MULTILINE)


def test_the_one_shots_ended_well(inspect: Callable[[str], dict[str, Any]]) -> None:
    assert {service: inspect(service)["State"]["ExitCode"] for service in ("preflight", "migrate")} == {"preflight": 0, "migrate": 0}


# --- Who reaches and reads what ---------------------------------------------------------------------------------------


def test_the_gateway_cannot_reach_the_database(inside: Inside) -> None:
    address = inside("app", "python -c 'import socket; print(socket.gethostbyname(\"database\"))'").stdout.strip()
    knock = "python -c 'import socket; socket.create_connection((\"{}\", 5432), 3)'"

    assert inside("app", knock.format(address)).returncode == 0
    assert inside("gateway", f"timeout 3 bash -c '</dev/tcp/{address}/5432'").returncode != 0
    assert inside("gateway", "getent hosts database").stdout == ""
    assert inside("gateway", "getent hosts app").stdout != ""


def test_who_reads_which_secret(inside: Inside) -> None:
    key, password = "/run/secrets/app/secret_key", "/run/secrets/database/database_password"
    read = {(service, path): inside(service, f"cat {path}").returncode == 0 for service in RUNNING for path in (key, password)}

    assert {pair for pair, done in read.items() if done} == {("app", key), ("app", password), ("database", password)}


def test_no_secret_is_in_an_environment(inside: Inside, inspect: Callable[[str], dict[str, Any]]) -> None:
    values = inside("app", "cat /run/secrets/app/secret_key; echo; cat /run/secrets/database/database_password").stdout.split()

    assert len(values) == 2
    assert [name for name in EVERY if any(value in json.dumps(inspect(name)) for value in values)] == []


def test_a_secret_that_the_container_cannot_read_is_named(app_image: Inside, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "secret_key").write_text("a key of sufficient length")
    (tmp_path / "secret_key").chmod(0o600)
    refused = app_image(["--volume", f"{tmp_path}:/run/secrets/given:ro"], ["python", "/srv/make_secrets.py"])

    assert refused.returncode == 1
    assert refused.stderr == "secrets/secret_key: Permission denied; right would be `chown 10001 secrets/secret_key`, mode 400\n"


# --- gunicorn in its container ----------------------------------------------------------------------------------------


def test_the_gateways_network_is_trusted_and_no_other(stack: Stack) -> None:
    networks = json.loads(
        subprocess.run(["docker", "network", "inspect", f"{stack.name}_web"], capture_output=True, text=True, check=True).stdout
    )
    subnet = networks[0]["IPAM"]["Config"][0]["Subnet"]

    assert f'X-Forwarded-* from {subnet},127.0.0.1,::1"' in stack.logs("app")


@pytest.mark.parametrize(
    ("limit", "sizing"),
    [
        (["--cpus", "1.5"], "2 workers of class gthread (one per CPU and at least 2, CPU quota of 1.5)"),
        (["--cpus", "0.5", "--env", "GUNICORN_WORKER_CLASS=sync"], "3 workers of class sync (2 x CPUs + 1, CPU quota of 0.5)"),
        (["--cpuset-cpus", "0", "--env", "GUNICORN_WORKER_CLASS=sync"], "3 workers of class sync"),
        ([], "2 workers of class gthread (one per CPU and at least 2, no CPU limit"),
    ],
)
def test_workers_follow_the_limit_of_the_container(app_image: Inside, limit: list[str], sizing: str) -> None:
    assert sizing in app_image(limit, ["sh", "-ec", "cd /srv; python -m gunicorn_hooks"]).stdout


def test_a_wrong_setting_stops_the_start_before_anything_runs(app_image: Inside) -> None:
    ended = app_image(["--env", "GUNICORN_TIMOUT=5"], ["sh", "-ec", "cd /srv; python -m gunicorn_hooks; echo started"])

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "right is GUNICORN_TIMEOUT" in ended.stderr


@contextmanager
def frozen_workers(stack: Stack) -> Iterator[None]:
    """Stop the workers of the first app container for the time of a with block, as a hanging disk would."""
    program = "import os, pathlib; [os.kill(int(pid), {}) for pid in pathlib.Path('/proc/1/task/1/children').read_text().split()]"
    assert stack.exec("app", ["python", "-c", program.format("19")]).returncode == 0  # SIGSTOP
    try:
        yield
    finally:
        stack.exec("app", ["python", "-c", program.format("18")])  # SIGCONT


def test_the_health_check_is_red_while_the_workers_hang(stack: Stack) -> None:
    probe = ["env", "PROBE_TIMEOUT=1", "python", "-I", "-S", "/srv/probe.py"]
    with frozen_workers(stack):
        assert stack.exec("app", probe).returncode == 1

    wait_until(lambda: stack.exec("app", probe).returncode == 0, "the app answers again", timeout_s=60)


# What the app does when it is told to stop, with the file and the rights that it has in its container.
REFUSES_CONNECTIONS = """
import socket, sys, types
sys.path.insert(0, "/srv")
from gunicorn_hooks import drain
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname(), timeout=5).close()
print("open")
drain.refuse_new_connections([types.SimpleNamespace(sock=listener, get_backlog=lambda: 0)])
try:
    socket.create_connection(listener.getsockname(), timeout=5)
except ConnectionRefusedError:
    print("refused")
"""


def test_the_app_has_the_rights_to_refuse_connections(stack: Stack) -> None:
    """Without root and without capabilities: what a kernel allows to root alone would pass every test outside a container."""
    answer = stack.exec("app", ["python", "-c", REFUSES_CONNECTIONS])

    assert answer.stdout.split() == ["open", "refused"], answer.stderr
