"""Fixtures: the gateway alone, once with this machine's nginx (runtime "local") and once with the image's (runtime "compose")."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.nginx.gateway import ROOT, Gateway
from tools.local.nginx import Edit

# One for each test run: another one at the same time must not take it away.
IMAGE = f"kitn-gateway-{os.getpid()}"


@pytest.fixture(scope="session")
def gateway_image(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway image, built with one static file in place of the app's; "" for the local runtime."""
    if runtime == "local":
        yield ""
        return
    static = tmp_path_factory.mktemp("app-image") / "srv" / "static"
    static.mkdir(parents=True)
    (static / "app.css").write_text("body{}")
    # GATEWAY_BASE is the Compose file's setting: the same tests for another distribution's nginx.
    base = ["--build-arg", f"GATEWAY_BASE={os.environ['GATEWAY_BASE']}"] if os.environ.get("GATEWAY_BASE") else []
    command = [
        "docker",
        "build",
        "--quiet",
        "--tag",
        IMAGE,
        *base,
        "--build-context",
        f"app-image={static.parents[1]}",
        str(ROOT / "nginx"),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    yield IMAGE
    subprocess.run(["docker", "image", "rm", "--no-prune", IMAGE], capture_output=True, check=True)


@pytest.fixture(scope="session")
def gateway_box(runtime: str, gateway_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container of the image in which gateways can be run, faster than one container each; "" for the local runtime.

    It has the host's network and the tests' folders: backends and files are where this machine's nginx has them.
    What is special in the real container is tried in tests/nginx/test_image.py.
    """
    if runtime == "local":
        yield ""
        return
    with box_of(gateway_image, tmp_path_factory.getbasetemp()) as box:
        yield box


@contextmanager
def box_of(image: str, folder: Path) -> Iterator[str]:
    """Run a container of the image that does nothing, and sees `folder`."""
    options = ["--rm", "--init", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{folder}:{folder}"]
    command = ["docker", "run", "--detach", *options, image, "sleep", "infinity"]
    box = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        yield box
    finally:
        subprocess.run(["docker", "rm", "--force", box], capture_output=True, check=True)


class Gateways:
    """Starts gateways and stops them; shows all of them when a test fails."""

    def __init__(self, runtime: str, box: str, folders: pytest.TempPathFactory, exits: ExitStack) -> None:
        self.runtime, self.name = runtime, "the gateways of this test"
        self._box, self._folders, self._exits = box, folders, exits
        self._started: list[Gateway] = []

    def __call__(
        self,
        upstreams: str | Sequence[str],
        env: Mapping[str, str] | None = None,
        edits: Sequence[Edit] = (),
        *,
        tls: Path | None = None,
        project: Path = ROOT,
    ) -> Gateway:
        """Start one in front of these addresses, with LIMITS=off unless `env` says otherwise; `tls`: the folder of its certificate.

        `project`: the folder with the kit's files.
        """
        servers = [upstreams] if isinstance(upstreams, str) else upstreams
        folder = self._folders.mktemp("gateway")
        settings = {"LIMITS": "off", **(env or {})}
        gateway = Gateway(folder, self._box, upstreams=servers, env=settings, edits=edits, tls=tls, project=project)
        self._exits.callback(gateway.stop)
        gateway.start()
        self._started.append(gateway)
        return gateway

    def logs(self) -> str:
        return "\n".join(gateway.logs() for gateway in self._started)

    def nginx_config(self) -> str:
        return "\n".join(gateway.nginx_config() for gateway in self._started)


@pytest.fixture
def start_gateway(runtime: str, gateway_box: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """Return a function that starts a gateway for this test alone."""
    with ExitStack() as exits:
        yield Gateways(runtime, gateway_box, tmp_path_factory, exits)


@pytest.fixture(scope="session")
def shared_gateways(runtime: str, gateway_box: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """The same for gateways that many tests share: they run until the session ends."""
    with ExitStack() as exits:
        yield Gateways(runtime, gateway_box, tmp_path_factory, exits)
