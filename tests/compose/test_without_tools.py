"""What is deployed needs none of the optional rooms."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.budgets import tracked
from tests.compose.conftest import ROOT
from tools.stack.machine import free_ports

OPTIONAL = {"docs", "findings", "loadtest", "tests", "tools"}


@pytest.fixture
def site(tmp_path: Path, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[str]:
    """The address of the site, started by plain Compose in a copy without them."""
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    for path in tracked():
        name = path.relative_to(ROOT)
        if name.parts[0] not in OPTIONAL:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / name)
    port = free_ports(1)[0]
    settings = {**os.environ, "COMPOSE_PROJECT_NAME": f"kit-bare-{os.getpid()}", "GATEWAY_PORT": str(port)}

    def compose(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["docker", "compose", *arguments], cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)

    try:
        up = compose("up", "--build", "--wait")
        assert up.returncode == 0, up.stderr[-2000:] + compose("logs", "--tail", "20").stdout
        yield f"http://127.0.0.1:{port}"
    finally:
        compose("down", "--volumes")


def test_the_site_runs_without_tools_load_test_and_tests(site: str) -> None:
    with httpx.Client(base_url=site, timeout=10, follow_redirects=True) as visitor:
        assert visitor.get("/healthz").status_code == 200
        assert visitor.get("/readyz").status_code == 200
        assert "<html" in visitor.get("/").text
