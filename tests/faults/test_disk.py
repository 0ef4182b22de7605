"""Logs are bounded: a container that writes more than its share leaves no more than that on the engine's disk."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools.stack import Stack
from tools.stack.compose import ComposeStack, docker

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LIMITS="off", APP_REPLICAS="2", LAB_ENABLED="0")]

# docker-compose.yml: max-size times max-file.
BOUND = 3 * 10_000_000
# Random, so that the compression of rotated files does not do the work of the bound.
WRITE_MB = 45
UNBOUNDED = """
services:
  gateway:
    logging: !override
      driver: json-file
"""


def log_bytes(container: str) -> int:
    """Return what the log of a container takes on the engine's disk, rotated files too."""
    folder = Path(docker("info", "--format", "{{.DockerRootDir}}")) / "containers" / container
    return sum(path.stat().st_size for path in folder.rglob("*.log*"))


def logged(stack: Stack, *overrides: Path) -> tuple[int, str]:
    """Let a container of the gateway's service write its log full; return the bytes on the disk, and the last line of the log."""
    # Beside the stack that runs, with the settings of the service: its image, its limits and its log.
    beside = ComposeStack(stack.name, root=ROOT, settings=stack.settings if isinstance(stack, ComposeStack) else {}, overrides=overrides)
    script = f"head -c {WRITE_MB * 750_000} /dev/urandom | base64 --wrap=500; echo the last line"
    started = beside.compose("run", "--detach", "--no-deps", "--entrypoint", "sh", "gateway", "-c", script)
    assert started.returncode == 0, started.stderr
    container = docker("inspect", "--format", "{{.Id}}", started.stdout.split()[-1])
    try:
        assert docker("wait", container) == "0"
        return log_bytes(container), docker("logs", "--tail", "1", container)
    finally:
        docker("rm", "--force", container)


def test_a_container_that_writes_without_end_fills_no_disk(stack: Stack) -> None:
    used, last = logged(stack)

    assert 0 < used <= BOUND
    assert last == "the last line"


def test_without_a_bound_it_does(stack: Stack, tmp_path: Path) -> None:
    """The engine's default: json-file, and nothing rotates."""
    override = tmp_path / "unbounded.yaml"
    override.write_text(UNBOUNDED)

    assert logged(stack, override)[0] > WRITE_MB * 1_000_000
