"""One name for a stack in make and in plain Compose, and two checkouts on one machine that leave each other alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.surgery import docker
from tools.stack import StackError, open_stack
from tools.stack.backup import MAGIC
from tools.stack.base import project_name, read_settings
from tools.stack.compose import ComposeStack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second checkout: its Compose file, in a folder with a name that no project may have."""
    for name in ("COMPOSE_PROJECT_NAME", "APP_IMAGE", "GATEWAY_IMAGE", "WAF_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "My Sité 2"
    folder.mkdir()
    shutil.copy(ROOT / "docker-compose.yml", folder)
    return folder


def model(folder: Path) -> Mapping[str, object]:
    command = ["docker", "compose", "config", "--format", "json"]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("given", "name_of_file", "expected"),
    [
        ({}, "flask-kit", "flask-kit"),
        ({}, "", "mysit2"),
        ({}, "'quoted' # a comment", "quoted"),
        ({".env": "bugs"}, "flask-kit", "bugs"),
        ({".env": "bugs", "shell": "shell"}, "flask-kit", "shell"),
    ],
)
def test_make_and_compose_find_the_same_name(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str], name_of_file: str, expected: str
) -> None:
    file = checkout / "docker-compose.yml"
    file.write_text(re.sub(r"(?m)^name: .*\n", f"name: {name_of_file}\n" if name_of_file else "", file.read_text()))
    (checkout / ".env").write_text(f"COMPOSE_PROJECT_NAME={given['.env']}\n" if given else "")
    if "shell" in given:
        monkeypatch.setenv("COMPOSE_PROJECT_NAME", given["shell"])

    assert model(checkout)["name"] == expected
    assert project_name(checkout, read_settings(checkout, None)) == expected


def test_the_images_have_its_name(checkout: Path, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> None:
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    (checkout / ".env").write_text("COMPOSE_PROJECT_NAME=bugs\n")
    stack = open_stack("compose", root=checkout)
    assert isinstance(stack, ComposeStack)
    services = model(checkout)["services"]
    assert isinstance(services, dict)

    assert stack.image("app") == services["app"]["image"] == services["migrate"]["image"] == "bugs-app"
    assert stack.image("gateway") == services["gateway"]["image"] == "bugs-gateway"
    assert {service["image"].partition("-")[0] for service in services.values()} == {"bugs", "postgres:18"}


@pytest.fixture
def foreign(tmp_path: Path, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[tuple[str, Path]]:
    """The name of a stack that has one container, and the folder of its own that it was started from."""
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    name, other = f"kit-test-{os.getpid()}-names", tmp_path / "other"
    other.mkdir()
    labels = {"com.docker.compose.project": name, "com.docker.compose.project.working_dir": str(other), "com.docker.compose.service": "app"}
    options = [word for label, value in labels.items() for word in ("--label", f"{label}={value}")]
    container = docker("create", "--name", f"{name}-app-1", *options, "postgres:18-trixie", "true").strip()
    yield name, other
    docker("rm", "--force", container)


def run(checkout: Path, *arguments: str) -> CompletedProcess[str]:
    argv = [sys.executable, "-m", "tools.stack", "--project", str(checkout), "--runtime", "compose", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_stack_of_another_checkout_is_left_alone(checkout: Path, foreign: tuple[str, Path]) -> None:
    name, other = foreign
    (checkout / ".env").write_text(f"COMPOSE_PROJECT_NAME={name}\n")

    for command in ("up", "down --volumes", "status", "rollout", "scale app 2", "restore --yes x"):
        answer = run(checkout, *command.split())
        assert answer.returncode == 2, answer.stdout + answer.stderr
        (line,) = answer.stderr.splitlines()
        assert line.startswith(f"stack: {name} is the name of the stack in {other}; write another COMPOSE_PROJECT_NAME")
    assert docker("ps", "--all", "--quiet", "--filter", f"name={name}-app-1")


def test_commands_for_a_stack_that_does_not_run_say_what_to_do(
    checkout: Path, tmp_path: Path, unavailable: Mapping[str, str], not_run: Callable[[str], None]
) -> None:
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    (checkout / ".env").write_text(f"COMPOSE_PROJECT_NAME=kit-test-{os.getpid()}-none\n")
    (tmp_path / "dump").write_bytes(MAGIC)
    commands = ("status", "rotate-secret", "rotate-secret --finish", "rollout", "rollout gateway", "rollback", "scale app 2", "backup")

    for command in (*commands, "maintenance on", f"restore --yes {tmp_path / 'dump'}"):
        answer = run(checkout, *command.split())
        assert answer.returncode == 1, command
        line = answer.stderr.splitlines()[-1]
        assert line.startswith("stack: "), command
        assert "run make up" in line, command


def test_a_checkout_that_was_moved_keeps_its_stack(checkout: Path, foreign: tuple[str, Path]) -> None:
    name, other = foreign
    other.rmdir()

    assert open_stack("compose", name=name, root=checkout).name == name


def test_a_wrong_line_of_env_is_refused_before_anything_runs(checkout: Path) -> None:
    (checkout / ".env").write_text("SECRET_KEY=abc$def\n")
    answer = run(checkout, "up")

    assert answer.returncode == 2
    assert answer.stderr.startswith("stack: .env, line 1: Docker Compose would read SECRET_KEY otherwise; right is")
    with pytest.raises(StackError):
        open_stack("local", root=checkout)
