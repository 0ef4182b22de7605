"""Fixtures: sites (gateway and WAF), once with this machine's nginx (runtime "local") and once with the images' ("compose")."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from tests.gateways import box_of
from tests.nginx.gateway import ROOT, ask
from tests.waf.site import Site
from tools.local import waf
from tools.local.nginx import Edit

IMAGE = f"kitn-waf-{os.getpid()}"


@pytest.fixture(scope="session")
def waf_image(runtime: str) -> Iterator[str]:
    """The WAF's image; "" for the local runtime."""
    if runtime == "local":
        yield ""
        return
    # WAF_BASE is the Compose file's setting: the same tests for another distribution's nginx.
    base = ["--build-arg", f"WAF_BASE={os.environ['WAF_BASE']}"] if os.environ.get("WAF_BASE") else []
    command = ["docker", "build", "--quiet", "--tag", IMAGE, *base, "--build-context", f"gateway={ROOT / 'nginx'}", str(ROOT / "waf")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    yield IMAGE
    subprocess.run(["docker", "image", "rm", "--no-prune", IMAGE], capture_output=True, check=True)


@pytest.fixture(scope="session")
def waf_box(runtime: str, waf_image: str, tmp_path_factory: pytest.TempPathFactory, not_run: Callable[[str], None]) -> Iterator[str]:
    """A container of the image in which WAFs can be run (tests/gateways.py); "" for the local runtime."""
    if runtime == "local":
        if lack := waf.lacks(ask(), {}):
            not_run(lack)
        yield ""
        return
    with box_of(waf_image, tmp_path_factory.getbasetemp()) as box:
        yield box


class Sites:
    """Starts sites and stops them; shows all of them when a test fails."""

    def __init__(self, runtime: str, boxes: tuple[str, str], folders: pytest.TempPathFactory, exits: ExitStack) -> None:
        self.runtime, self.name = runtime, "the sites of this test"
        self._boxes, self._folders, self._exits = boxes, folders, exits
        self._started: list[Site] = []

    def __call__(
        self,
        upstreams: str | Sequence[str],
        env: Mapping[str, str] | None = None,
        edits: Sequence[Edit] = (),
        *,
        gateway_edits: Sequence[Edit] = (),
    ) -> Site:
        """Start one in front of these addresses, with LIMITS=off unless `env` says otherwise; `edits` are the WAF's."""
        servers = [upstreams] if isinstance(upstreams, str) else upstreams
        env = {"LIMITS": "off", **(env or {})}
        site = Site(self._folders.mktemp("site"), self._boxes, upstreams=servers, env=env, edits=edits, gateway_edits=gateway_edits)
        self._exits.callback(site.stop)
        site.start()
        self._started.append(site)
        return site

    def logs(self) -> str:
        return "\n".join(site.logs() for site in self._started)

    def nginx_config(self) -> str:
        return "\n".join(site.nginx_config() for site in self._started)


@pytest.fixture
def start_site(runtime: str, gateway_box: str, waf_box: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Return a function that starts a site for this test alone."""
    with ExitStack() as exits:
        yield Sites(runtime, (gateway_box, waf_box), tmp_path_factory, exits)


@pytest.fixture(scope="session")
def shared_sites(runtime: str, gateway_box: str, waf_box: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """The same for sites that many tests share: they run until the session ends."""
    with ExitStack() as exits:
        yield Sites(runtime, (gateway_box, waf_box), tmp_path_factory, exits)
