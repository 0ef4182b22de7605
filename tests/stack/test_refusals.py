"""What cannot work is refused with one line that says what would, and a non-zero exit code."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tools.stack import StackError, open_stack
from tools.stack.choice import ANSWER_TIMEOUT_S, choose, missing_for_compose
from tools.stack.machine import find_command

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., CompletedProcess[str]]
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}

# A command in its own view of the file system: what it mounts exists for it alone, and ends with it.
MOUNT = ("unshare", "--mount", "sh", "-ec")


def refusal(answer: CompletedProcess[str], exit_code: int) -> str:
    """Check the form of a refusal and return its line."""
    assert answer.returncode == exit_code, answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    # What a failed process said may stand before it, indented.
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("    ")]
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("stack: ")
    return lines[0]


def leftovers(name: str) -> list[Path]:
    return list((ROOT / ".run" / name).glob("run")) + list((ROOT / ".run" / name).glob("*.json"))


def test_a_taken_port_is_named_with_its_owner(run: Command, name: str, free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        line = refusal(run("up"), 1)

    assert f"port {free_port} of 127.0.0.1 is taken by" in line
    assert f"(pid {os.getpid()})" in line
    assert leftovers(name) == []


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("GATEWAY_PORT", "eighty", "GATEWAY_PORT='eighty' is not a whole number from 1 to 65535"),
        ("GATEWAY_PORT", "65536", "GATEWAY_PORT='65536' is not"),
        ("APP_REPLICAS", "0", "APP_REPLICAS='0' is not a whole number from 1 to 32"),
        ("APP_CPUS", "some", "APP_CPUS='some' is not a number of CPUs"),
        ("GATEWAY_BIND", "::1", "GATEWAY_BIND='::1' is no address; use an IPv4 address, an IPv6 address in brackets"),
        ("LAB_ENABLED", "maybe", "LAB_ENABLED='maybe' is neither on nor off"),
        ("LIMITS", "maybe", "LIMITS=maybe"),
        ("TRUSTED_PROXIES", "0.0.0.0/0", "TRUSTED_PROXIES"),
        ("GUNICORN_TIMOUT", "30", "GUNICORN_TIMEOUT"),
        ("GUNICORN_TIMEOUT", "soon", "GUNICORN_TIMEOUT"),
        ("WEB_CONCURRENCY", "many", "WEB_CONCURRENCY"),
    ],
)
def test_a_wrong_setting_is_named(run: Command, name: str, setting: str, value: str, words: str) -> None:
    line = refusal(run("up", **{setting: value}), 2)

    assert words in line
    assert leftovers(name) == []


def test_an_unknown_runtime_is_refused(run: Command) -> None:
    assert "use one of auto, compose, local" in refusal(run("up", runtime="podman"), 2)
    assert "use one of auto, compose, local" in refusal(run("up", runtime="auto", RUNTIME="podman"), 2)


def test_a_name_that_is_no_name_is_refused(run: Command) -> None:
    assert "cannot name a stack" in refusal(run("--name", "../away", "up"), 2)


def test_compose_without_an_engine_is_refused(run: Command) -> None:
    assert "the runtime compose was asked for, but" in refusal(run("up", runtime="compose", **NO_ENGINE), 1)


def test_compose_files_are_refused_where_nothing_can_merge_them(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot merge Compose files"):
        open_stack("local", overrides=[tmp_path / "other.yaml"])


def test_without_an_engine_the_choice_is_local_and_says_why(name: str) -> None:
    choice = choose("auto", name=name, root=ROOT, settings={"PATH": os.environ["PATH"], **NO_ENGINE})

    assert choice.runtime == "local"
    assert "docker" in choice.reason.lower()


def test_without_docker_the_choice_is_local_and_says_why(name: str, tmp_path: Path) -> None:
    choice = choose("auto", name=name, root=ROOT, settings={"PATH": str(tmp_path)})

    assert choice == ("local", "docker is not installed")


def test_an_engine_that_never_answers_is_not_waited_for(command: Callable[[str], str]) -> None:
    command("docker")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        problem = missing_for_compose({"PATH": os.environ["PATH"], "DOCKER_HOST": f"tcp://127.0.0.1:{port}"})

    assert problem == f"the Docker engine did not answer within {ANSWER_TIMEOUT_S} s"


@pytest.mark.usefixtures("own_mounts")
def test_a_missing_nginx_is_named_with_the_command_that_installs_it(run: Command, name: str) -> None:
    hidden = f'mount --bind /dev/null {find_command("nginx", os.environ)}; exec "$@"'

    line = refusal(run("up", prefix=(*MOUNT, hidden, "sh")), 1)

    assert "nginx not found on this machine; run: " in line
    assert "install" in line
    assert leftovers(name) == []


@pytest.mark.usefixtures("own_mounts")
def test_a_folder_that_cannot_be_written_is_named(run: Command, name: str) -> None:
    folder = ROOT / ".run" / name
    folder.mkdir(parents=True)
    read_only = f'mount -t tmpfs -o ro none {folder}; exec "$@"'

    line = refusal(run("up", prefix=(*MOUNT, read_only, "sh")), 1)

    assert f"cannot write to {folder}" in line
    assert "Read-only file system" in line


@pytest.fixture
def own_mounts(command: Callable[[str], str], not_run: Callable[[str], None]) -> None:
    """Tests that hide or lock a part of the file system need mounts of their own."""
    command("unshare")
    if subprocess.run([*MOUNT, "true"], capture_output=True, check=False).returncode:
        not_run("mounts of one's own are not permitted here (root may)")


def test_the_path_of_a_folder_may_be_too_long_for_a_socket(name: str, tmp_path: Path, free_port: int) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()

    with pytest.raises(StackError, match="too long for a socket"):
        open_stack("local", name=name, root=deep, env={"GATEWAY_PORT": str(free_port)}).up()


def test_commands_for_a_stack_that_does_not_run_say_so(run: Command) -> None:
    for arguments in (["status"], ["scale", "app", "2"]):
        assert "does not run; run make up" in refusal(run(*arguments), 1)


def test_down_without_anything_to_stop_is_no_error(run: Command) -> None:
    assert run("down").returncode == 0


def test_an_old_python_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n')
    old.chmod(0o755)
    for part in ("requirements/venv", "requirements/stack.txt"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_bytes((ROOT / part).read_bytes())

    answer = subprocess.run(
        ["sh", "requirements/venv", "stack"],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 1
    assert (
        answer.stderr.strip() == f"Python 3.11 or newer is needed; {old} is Python 3.9.2. Install one, or name it: PYTHON=/path/to/python3"
    )
    assert sys.version_info >= (3, 11)
