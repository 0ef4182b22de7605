"""The targets, and what is said about tests that cannot be run."""

import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"help", "up", "down", "logs", "test", "lint", "doctor", "eject", "loadtest", "rollout"}


def make(*arguments: str) -> CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def listed(output: str) -> set[str]:
    return set(re.findall(r"^  make ([a-z-]+)", output, re.MULTILINE))


def test_make_alone_lists_every_target() -> None:
    assert make().stdout == make("help").stdout
    assert listed(make("help").stdout) >= TARGETS


def test_the_targets_for_deployment_stand_alone() -> None:
    alone = make("-f", "deploy.mk")

    assert listed(alone.stdout) == {"help", "up", "down", "logs", "status", "doctor", "lock-packages", "rollout", "waf-report"}
    assert "docker compose up --detach --wait" in make("-f", "deploy.mk", "--dry-run", "up").stdout


def test_up_chooses_the_runtime_through_the_stack_command() -> None:
    assert "-m tools.stack up" in make("--dry-run", "up").stdout


SKIPPING = "tests/stack/test_interface.py::test_the_configuration_of_nginx_can_be_read[compose]"


@pytest.mark.parametrize(("ci", "exit_code", "word"), [("", 0, "SKIPPED"), ("true", 1, "must not be left out in CI")])
def test_what_cannot_be_run_is_said_and_fails_in_ci(ci: str, exit_code: int, word: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", SKIPPING],
        cwd=ROOT,
        env={**os.environ, "CI": ci, "RUNTIME": "local"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == exit_code, answer.stdout
    assert word in answer.stdout
    assert "runtime compose: RUNTIME=local" in answer.stdout
