"""What an application of somebody else's and the world exchange: health checks that it accepts, and its calls to other services."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, StackFactory
from tools.stack import Stack, StackError, open_stack
from tools.stack.machine import free_ports
from tools.stack.waiting import ask

pytestmark = pytest.mark.runtimes("compose")

HERE = Path(__file__).parent
STRICT = HERE / "strict.yaml"
ENV = {"SERVER_NAMES": "www.example.org shop.example.org", "HEALTH_PATH": "/healthz", "APP_REPLICAS": "1"}
# Where the requests of this machine come from: the engine's own address on the network `edge`.
TRUSTED = {"TRUSTED_PROXIES": "172.16.0.0/12 192.168.0.0/16"}


@pytest.fixture
def strict(stack_factory: StackFactory) -> Stack:
    """The strict application; its health check passed, or it would not be here."""
    return stack_factory({**ENV, **TRUSTED}, [STRICT])


@pytest.fixture
def visitor(strict: Stack) -> Iterator[httpx.Client]:
    """A load balancer in front, with a visitor over TLS."""
    headers = {"Host": "www.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    with httpx.Client(base_url=strict.url, headers=headers, timeout=20) as client:
        yield client


# --- Health checks


PROBE = "import os, runpy, sys; {}; sys.argv[:] = ['probe.py']; runpy.run_path('/srv/probe.py', run_name='__main__')"


@pytest.mark.parametrize(
    ("spoilt", "answer"),
    [
        ("os.environ['SERVER_NAMES'] = ''", "Host: localhost, X-Forwarded-Proto: https: HTTP/1.1 400 BAD REQUEST"),
        ("import socket; s = socket.socket.sendall; socket.socket.sendall = lambda c, d: s(c, d.replace(b'X-Forwarded-Proto', b'X-Other'))",
         "HTTP/1.1 302 FOUND (Location: https://www.example.org/healthz)"),
    ],
    ids=["by another name", "without https"],
)  # fmt: skip
def test_a_health_check_that_asks_otherwise_is_refused(strict: Stack, spoilt: str, answer: str) -> None:
    as_it_is, asked = (strict.exec("app", ["python", "-c", PROBE.format(how)]) for how in ("pass", spoilt))

    assert as_it_is.returncode == 0, as_it_is.stderr
    assert asked.returncode == 1
    assert answer in asked.stderr


def test_a_site_whose_tls_is_a_load_balancers_counts_as_started(stack_factory: StackFactory) -> None:
    """`up` waits for an answer through the gateway; without TRUSTED_PROXIES the application redirects this machine to https."""
    stack = stack_factory(ENV, [STRICT])

    assert ask(f"{stack.url}/healthz", ENV) == (True, "302 FOUND, Location: https://www.example.org/healthz")
    assert ask(f"{stack.url}/seen", {}) == (False, "421 Misdirected Request")


def test_up_shows_the_answer_that_the_health_check_got(runtime: str, strict: Stack) -> None:
    assert strict  # which built the images
    settings = {**ENV, "GATEWAY_PORT": str(free_ports(1)[0]), "SERVER_NAMES": "other.example.org", "WEB_CONCURRENCY": "1"}
    refused = open_stack(runtime, name=f"kit-refused-{os.getpid()}", env=settings, overrides=[STRICT, HERE / "impatient.yaml"], root=ROOT)
    try:
        with pytest.raises(StackError) as failure:
            refused.up(build=False)
    finally:
        refused.down(volumes=True)

    asked = "GET /healthz at port 8000, Host: other.example.org, X-Forwarded-Proto: https"
    assert f"its health check: {asked}: HTTP/1.1 400 BAD REQUEST" in failure.value.details


# --- Behind a load balancer that shows the site under another name and path


def test_links_have_the_name_and_the_path_that_the_balancer_shows(visitor: httpx.Client) -> None:
    said = {"X-Forwarded-Host": "shop.example.org", "X-Forwarded-Prefix": "/shop", "X-Forwarded-Proto": "http, https"}
    seen = visitor.get("/seen", headers=said).json()

    assert (seen["client"], seen["link"]) == ("203.0.113.9", "https://shop.example.org/shop/seen")


def test_nobody_else_chooses_them(stack_factory: StackFactory) -> None:
    stack = stack_factory(ENV, [STRICT])
    said = {"Host": "www.example.org", "X-Forwarded-Host": "shop.example.org", "X-Forwarded-Prefix": "/shop", "X-Forwarded-Proto": "https"}
    answer = httpx.get(f"{stack.url}/seen", headers=said)

    assert (answer.status_code, answer.headers["Location"]) == (302, "https://www.example.org/seen")


# --- A site under a path


@pytest.mark.runtimes("local")
@pytest.mark.stack_env(URL_PREFIX="/shop")
def test_a_site_under_a_path_has_its_links_files_and_health_there(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url) as client:
        page = client.get("/shop/")
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
        redirected = client.post("/shop/entries", data={"author": "a", "message": ""})
        assert page.status_code == 200
        assert links
        assert [link for link in links if not link.startswith("/shop/")] == []
        assert {client.get(link).status_code for link in links if "static" in link} == {200}
        assert redirected.headers.get("Location", "/shop/").startswith("/shop/")
        assert [client.get(path).status_code for path in ("/shop/healthz", "/shop/readyz", "/healthz", "/")] == [200, 200, 404, 404]


# --- Outgoing calls


@contextmanager
def service_elsewhere(image: str) -> Iterator[tuple[str, str]]:
    """A server in a container outside of the project; yields its address, which is this machine's on the engine's default network."""
    network = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
    host = subprocess.run(network, capture_output=True, text=True, check=True).stdout.strip()
    name = f"kit-elsewhere-{os.getpid()}"
    server = ["--entrypoint", "python", image, "-m", "http.server", "9000"]
    subprocess.run(["docker", "run", "--detach", "--rm", "--name", name, "--publish", f"{host}::9000", *server], check=True)
    try:
        port = subprocess.run(["docker", "port", name, "9000"], capture_output=True, text=True, check=True).stdout
        yield host, port.strip().rpartition(":")[2]
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def test_the_application_reaches_a_service_elsewhere_and_the_overlay_forbids_it(visitor: httpx.Client) -> None:
    connect = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
    # A project of its own for one container: that of the stack would be given the other network while it runs.
    files = ["--file", "docker-compose.yml", "--file", "compose/no-outbound.yaml"]
    project = ["docker", "compose", "--project-name", f"kit-no-outbound-{os.getpid()}", *files]
    with service_elsewhere(os.environ["APP_IMAGE"]) as (host, port):
        reached = visitor.get("/call", params={"host": host, "port": port}).text
        run = [*project, "run", "--rm", "--no-deps", "--no-TTY", "app", "python", "-c", connect, host, port]
        forbidden = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=False)
        subprocess.run([*project, "down", "--volumes"], capture_output=True, cwd=ROOT, check=True)

    assert reached == "reached"
    assert "OSError: [Errno 101] Network is unreachable" in forbidden.stderr
