"""compose/tls.yaml as a user starts it: a certificate of one's own at first, then one from an ACME authority, renewed beside traffic."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import pytest

from tests.clients import wait_until
from tests.hardening.inspection import cis_findings, inspect, process_rights, root_processes, root_writes
from tests.tls.pairs import make_pair
from tests.tls.tls import TlsGateway, serial
from tools.stack import Stack
from tools.stack.machine import free_ports

pytestmark = pytest.mark.runtimes("compose")

HERE = Path(__file__).parent
NAME = "www.kit.test"
RENEW = ["sh", "-c", "ACME_OPTIONS=--force-renewal exec /opt/acme/renew once"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the certificate of the authority's own API, readable in its container."""
    folder = tmp_path_factory.mktemp("pebble")
    pair = make_pair(folder, names=("pebble",))
    pair.key.chmod(0o644)
    for path in (folder, folder.parent):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def tls_port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def stack(stack_factory: Callable[..., Stack], authority: Path, tls_port: int) -> Stack:
    env = {
        "ACME_DOMAINS": NAME,
        "ACME_SERVER": "https://pebble:14000/dir",
        "APP_REPLICAS": "1",
        "COMPOSE_PROFILES": "acme",
        "GATEWAY_TLS_PORT": str(tls_port),
        "LIMITS": "off",
        "PEBBLE_CONTEXT": str(HERE / "pebble"),
        "PEBBLE_FOLDER": str(authority),
        "SERVER_NAMES": f"localhost 127.0.0.1 {NAME}",
        "TLS_HSTS": "max-age=600",
    }
    root = HERE.parents[1]
    return stack_factory(env, [root / "compose/tls.yaml", HERE / "compose.pebble.yaml"])


def shown(stack: Stack) -> tuple[int, bytes]:
    """Serial number and content of the certificate that the gateway shows for NAME, in a handshake of its own."""
    address = urlsplit(stack.url)
    connection = socket.create_connection((address.hostname or "", address.port or 443), timeout=20)
    with TlsGateway.unverified().wrap_socket(connection, server_hostname=NAME) as secured:
        return serial(secured), secured.getpeercert(binary_form=True) or b""


def issued(stack: Stack) -> int:
    """The serial number once the certificate comes from the authority."""
    wait_until(lambda: b"Pebble" in shown(stack)[1], f"the authority's certificate is shown\n{stack.logs('acme')}", timeout_s=60)
    return shown(stack)[0]


class Visitors:
    """Ask for one page after the other, over new and over kept connections, until they are stopped; count what fails."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(keep,)) for keep in (True, False, False)]
        self.answered = 0
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, keep: bool) -> None:  # noqa: FBT001 - a thread's argument
        headers = {} if keep else {"Connection": "close"}
        with httpx.Client(verify=TlsGateway.unverified(), timeout=20, headers=headers) as client:
            while not self._stopping.is_set():
                try:
                    client.get(f"{self._url}/healthz").raise_for_status()
                    self.answered += 1
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))


def test_a_certificate_is_ordered_and_renewed_without_a_lost_request(stack: Stack) -> None:
    """By HTTP-01, through the gateway, from Debian's pebble; then once more at once, beside traffic."""
    first = issued(stack)
    with Visitors(stack.url) as visitors:
        wait_until(lambda: visitors.answered > 20, "the visitors are served")
        renewed = stack.exec("acme", RENEW)
        assert renewed.returncode == 0, renewed.stdout + renewed.stderr
        wait_until(lambda: shown(stack)[0] != first, f"the renewed certificate is shown\n{stack.logs('gateway')}")
        after = visitors.answered
        wait_until(lambda: visitors.answered > after + 20, "the visitors are served on")

    assert visitors.failed == []
    # One reload for one renewal.
    taken = [line for line in stack.logs("gateway").splitlines() if "a new one is in use" in line]
    assert len(taken) == 2, taken  # the first one from the authority, and its successor


def test_a_certificate_that_disappears_goes_on_being_served(stack: Stack) -> None:
    serving = issued(stack)
    stack.exec("acme", ["sh", "-c", "mv /run/tls/fullchain.pem /run/tls/away.pem"])
    wait_until(lambda: "/run/tls/fullchain.pem is missing" in stack.logs("gateway"), "the gateway says so")

    assert shown(stack)[0] == serving
    stack.exec("acme", ["sh", "-c", "mv /run/tls/away.pem /run/tls/fullchain.pem"])
    assert shown(stack)[0] == serving


@pytest.mark.parametrize("service", ["gateway", "acme", "certificate"])
def test_the_services_of_tls_keep_to_the_points_of_the_benchmark(stack: Stack, service: str) -> None:
    """As tests/hardening of the others; `certificate` runs once."""
    assert cis_findings(inspect(stack, service), one_shot=service == "certificate") == []


@pytest.mark.parametrize("service", ["gateway", "acme"])
def test_their_processes_have_no_rights_to_lose(stack: Stack, service: str) -> None:
    assert root_processes(stack, service) == []
    assert process_rights(stack, service) == []
    assert root_writes(stack, service) == ""


def test_the_site_knows_that_it_is_behind_tls(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, verify=TlsGateway.unverified()) as client:
        page = client.get("/")

    (cookie,) = [value for value in page.headers.get_list("set-cookie") if "session" in value]
    assert cookie.startswith("__Host-session=")
    assert "Secure" in cookie
    assert page.headers["strict-transport-security"] == "max-age=600"
