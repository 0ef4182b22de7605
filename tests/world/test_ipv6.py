"""A visitor over IPv6 has an address of its own in the log, the limits and the application."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from tests.clients import wait_until
from tests.nginx.containers import Container, Site, docker

pytestmark = pytest.mark.runtimes("compose")
# This machine, and a visitor in a network namespace: a container would reach the port through the engine's proxy.
HERE, VISITOR = "fd00:b065::1", "fd00:b065::2"


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits


@pytest.fixture
def visitor(runtime: str, exits: ExitStack, command: Callable[[str], str]) -> str:
    """The name of a network namespace whose address is VISITOR."""
    assert runtime == "compose"
    ip, name = command("ip"), f"kit-{os.getpid()}"
    steps = [
        f"netns add {name}",
        f"link add {name}v type veth peer name inside netns {name}",
        f"addr add {HERE}/64 dev {name}v nodad",
        f"link set {name}v up",
        f"-n {name} addr add {VISITOR}/64 dev inside nodad",
        f"-n {name} link set inside up",
    ]
    exits.callback(subprocess.run, [ip, "netns", "delete", name], check=False)
    for step in steps:
        subprocess.run([ip, *step.split()], check=True)
    return name


def network(exits: ExitStack, *options: str) -> str:
    name = f"kitn-{uuid.uuid4().hex[:12]}"
    docker("network", "create", *options, name)
    exits.callback(docker, "network", "rm", name)
    return name


def seen(gateway: Container, visitor: str) -> str:
    """Ask from the namespace; return the address that the gateway logs."""
    (port,) = (line[5:] for line in docker("port", gateway.name, "8080/tcp").stdout.split() if line.startswith("[::]:"))
    ask = ["curl", "--silent", "--output", "/dev/null", "--header", "Host: localhost", f"http://[{HERE}]:{port}/"]
    subprocess.run(["ip", "netns", "exec", visitor, *ask], check=True, timeout=60)
    logged = wait_until(lambda: [line for line in docker("logs", gateway.name).stdout.splitlines() if '"uri":"/"' in line], "it is logged")
    return str(json.loads(logged[0])["client"])


def test_a_visitor_over_ipv6_is_seen_as_itself(gateway_image: str, exits: ExitStack, visitor: str) -> None:
    """And without IPv6 on the gateway's network, as the engine: all of them would share one address."""
    sites = [Site(network(exits, *options), gateway_image, exits) for options in (["--ipv6"], [])]
    as_itself, as_engine = (seen(site.gateway("--publish", "[::]::8080"), visitor) for site in sites)

    assert as_itself == VISITOR
    assert ip_address(as_engine).version == 4
