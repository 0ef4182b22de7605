"""Run the kit's commands as a user does, and take down what they started."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tools.local.stack import LocalStack
from tools.stack import open_stack

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., CompletedProcess[str]]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: this one's without RUNTIME, one worker per gunicorn (they start sooner), and `settings`."""
    return {
        **{key: value for key, value in os.environ.items() if key != "RUNTIME"},
        "STACK_INSTALL": "0",
        "WEB_CONCURRENCY": "1",
        **settings,
    }


def command_line(*arguments: str, name: str, runtime: str = "local") -> list[str]:
    return [sys.executable, "-m", "tools.stack", "--name", name, "--runtime", runtime, *arguments]


@pytest.fixture
def new_name() -> Iterator[Callable[[], str]]:
    """Return a function that invents names of stacks; whatever runs under them at the end of the test is taken down."""
    names: list[str] = []

    def invent() -> str:
        names.append(f"kit-test-{os.getpid()}-own-{len(names)}")
        return names[-1]

    yield invent
    for name in names:
        open_stack("local", name=name).down(volumes=True)


@pytest.fixture
def name(new_name: Callable[[], str]) -> str:
    """A name that no stack has."""
    return new_name()


@pytest.fixture
def run(name: str, free_port: int) -> Command:
    """Return a function that runs `python -m tools.stack ARGUMENTS`, by default for the local stack `name` on a free port."""

    def run(*arguments: str, runtime: str = "local", prefix: tuple[str, ...] = (), **settings: str) -> CompletedProcess[str]:
        return subprocess.run(
            [*prefix, *command_line(*arguments, name=name, runtime=runtime)],
            cwd=ROOT,
            env=environment({"GATEWAY_PORT": str(free_port), **settings}),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def local(name: str, free_port: int) -> LocalStack:
    """A local stack that was not started: small, so that it starts soon."""
    stack = open_stack("local", name=name, env={"GATEWAY_PORT": str(free_port), "WEB_CONCURRENCY": "1", "APP_REPLICAS": "2"})
    assert isinstance(stack, LocalStack)
    return stack
