"""The targets, and what is said about tests that cannot be run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"up", "down", "logs", "status", "test", "lint", "doctor", "eject", "loadtest", "report"}
TARGETS |= {"rollout", "rollback", "scale", "backup", "restore"}


def make(*arguments: str) -> CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def listed(output: str) -> list[str]:
    return re.findall(r"^  make ([a-z-]+)", output, re.MULTILINE)


def test_make_alone_lists_the_targets_that_most_people_need_and_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert make().stdout == make("help").stdout
    assert set(listed(make("help").stdout)) == TARGETS
    assert version in make("help").stdout.splitlines()[0]


def test_help_all_lists_every_target_once_sorted_in_one_column() -> None:
    lines = make("help-all").stdout.splitlines()
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    every = {name for names in phony for name in names.split()} - {"help", "help-all", "venv", "venv-test", "venv-loadtest"}

    assert listed("\n".join(lines)) == sorted(every)
    assert len({re.match(r"  make [a-z-]+ +", line).end() for line in lines}) == 1  # type: ignore[union-attr]


def test_up_chooses_the_runtime_through_the_stack_command() -> None:
    assert "-m tools.stack up" in make("--dry-run", "up").stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("scale", "REPLICAS is not given: make scale REPLICAS=5"),
        ("restore", "FILE is not given: make restore FILE=backups/"),
        ("report", "RUN is not given: make report RUN=loadtest/results/"),
        ("loadtest-diff A=x", "B is not given: make loadtest-diff B=loadtest/results/"),
    ],
)
def test_what_a_target_needs_is_named(command: str, said: str) -> None:
    answer = make("--dry-run", *command.split())

    assert answer.returncode == 2
    assert said in answer.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("eject", "DEST is not given, or is the kit itself: right would be make eject DEST=../myservice APP_MODULE=package.module:app"),
        ("eject DEST=. APP_MODULE=kit_app:app", "DEST is not given, or is the kit itself"),
        ("eject DEST=../shop", "APP_MODULE is not given: right would be APP_MODULE=package.module:app"),
        ("eject DEST=../shop APP=shop:create_app", "APP_MODULE is not given: right would be APP_MODULE=shop:create_app"),
    ],
)
def test_eject_says_what_it_was_not_given(command: str, said: str) -> None:
    answer = make(*command.split())

    assert answer.returncode == 2
    assert answer.stderr.startswith(said)


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
