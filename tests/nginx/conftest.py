"""Fixtures: a backend that shows what nginx passed on, and a gateway in front of it. More of them: tests/gateways.py."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gateways import Gateways
from tests.nginx.containers import Site, docker
from tests.nginx.gateway import HOST, Gateway, ask
from tools.local.nginx import BROTLI
from tools.stack.machine import free_ports

__all__ = ["Gateways"]


@pytest.fixture(scope="session")
def echo_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real gunicorn with wsgi_echo."""
    (port,) = free_ports(1)
    log = (tmp_path_factory.mktemp("echo") / "gunicorn.log").open("wb")
    command = [sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--worker-class", "gthread", "--threads", "64"]
    limits = ["--limit-request-line", "8190", "--keep-alive", "65", "--no-control-socket", "--forwarder-headers", ""]
    chdir = ["--chdir", str(Path(__file__).parent), "wsgi_echo:app"]
    with log, subprocess.Popen([*command, *limits, *chdir], stdout=log, stderr=log) as gunicorn:
        wait_until(lambda: _listening(gunicorn, Path(log.name)), "gunicorn listens")
        yield f"{HOST}:{port}"
        gunicorn.terminate()


def _listening(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    text = log.read_text()
    assert process.poll() is None, text
    return "Booting worker" in text


@pytest.fixture(scope="session")
def gateway(shared_gateways: Gateways, echo_backend: str) -> Gateway:
    """A gateway with the default settings (LIMITS=off) in front of the echo backend."""
    return shared_gateways(echo_backend)


@pytest.fixture
def coding(request: pytest.FixtureRequest, runtime: str, not_run: Callable[[str], None]) -> str:
    """One of the content codings that a test names (`indirect=["coding"]`); an nginx of this machine may lack brotli."""
    if request.param == "br" and runtime == "local" and not ask().modules.issuperset(BROTLI):
        not_run("nginx here has no brotli (apt-get install libnginx-mod-http-brotli-filter libnginx-mod-http-brotli-static)")
    return str(request.param)


@pytest.fixture
def site(gateway_image: str) -> Iterator[Site]:
    network = f"kitn-{uuid.uuid4().hex[:12]}"
    with ExitStack() as exits:
        docker("network", "create", network)
        exits.callback(docker, "network", "rm", network)
        yield Site(network, gateway_image, exits)
