"""Fixtures: a network with the health checks and containers that all answer to the name `app`."""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.clients import wait_until
from tests.conftest import ROOT
from tests.nginx.containers import HARDENED, docker

SERVES = ["python", "-m", "http.server", "8000"]


@dataclass(frozen=True, slots=True)
class Site:
    """A network like the Compose file's `web`: internal, so that the engine answers SERVFAIL for a name that nobody has."""

    network: str
    image: str
    exits: ExitStack

    def run(self, *arguments: str) -> str:
        """Start a container in the network; return its name."""
        name = f"kit-checks-{uuid.uuid4().hex[:12]}"
        self.exits.callback(docker, "rm", "--force", "--volumes", name, check=False)
        docker("run", "--detach", "--init", "--name", name, "--network", self.network, *arguments)
        return name

    def app(self, *command: str) -> str:
        """Start one more container of the app, by default one that answers 200 to GET / and 404 to any other path."""
        return self.run("--network-alias", "app", "--entrypoint", "", self.image, *(command or SERVES))

    def health_checks(self, path: str = "/") -> "HealthChecks":
        """Start the health checks and wait for their first list."""
        checks = HealthChecks(self.run("--restart", "unless-stopped", *HARDENED, self.image, f"app:8000{path}"))
        wait_until(checks.answers, lambda: f"the health checks answer\n{checks.logs()}")
        return checks


def address(container: str) -> str:
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container).stdout.strip()


class HealthChecks:
    def __init__(self, name: str) -> None:
        self.name = name

    def logs(self) -> str:
        return docker("logs", self.name).stdout

    def reply(self) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query("app", "A"), address(self.name), port=8053, timeout=2)

    def answers(self) -> bool:
        try:
            return self.reply().rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
        except (dns.exception.DNSException, OSError, ValueError):  # it has not begun, or has no address
            return False

    def rotation(self) -> set[str]:
        """Return the addresses that nginx would be given."""
        return {str(record) for answer in self.reply().answer for record in answer}


@pytest.fixture(scope="session")
def health_checks_image() -> Iterator[str]:
    name = f"kit-health-checks-{os.getpid()}"
    docker("build", "--quiet", "--tag", name, str(ROOT / "compose/health-checks"))
    yield name
    docker("image", "rm", "--no-prune", name)


@pytest.fixture
def site(runtime: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """One for the runtime "compose" alone: without an engine the test is reported as not run before an image is built."""
    assert runtime == "compose"
    network = f"kit-checks-{uuid.uuid4().hex[:12]}"
    with ExitStack() as exits:
        docker("network", "create", "--internal", network)
        exits.callback(docker, "network", "rm", network)
        yield Site(network, request.getfixturevalue("health_checks_image"), exits)
