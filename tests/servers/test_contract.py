"""Every server of servers/ serves the whole site behind the gateway; what one does otherwise stands in its exceptions.toml.

SERVERS names those that are tried; `make servers` tries all. One stack with one instance of each, one after the other: only the app
container is replaced.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.servers.behaviours import BEHAVIOURS, SERVERS, YES, Site, description, exceptions
from tests.servers.table import PAGE, page
from tools.stack import Stack, StackError, open_stack
from tools.stack.machine import free_ports

NAMES = os.environ.get("SERVERS", "uwsgi granian").split()
# Without SERVERS one is enough in the local runtime; uWSGI would be compiled there for more than a minute.
IN_LOCAL = NAMES if "SERVERS" in os.environ else ["granian"]
PAIRS = [("compose", name) for name in NAMES] + [("local", name) for name in IN_LOCAL if description(name).get("only") != "compose"]
SETTINGS = {"LAB_ENABLED": "1", "LIMITS": "off", "WAF_MODE": "Off", "WAF_REPLICAS": "0", "APP_REPLICAS": "1"}
Run = Callable[[str, str], Stack]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Return a function that lets a server run in this module's stack of a runtime."""
    name, ports = f"kit-test-{os.getpid()}-servers", dict(zip(("compose", "local"), free_ports(2), strict=True))
    with ExitStack() as exits:

        def run(runtime: str, server: str) -> Stack:
            stack = open_stack(runtime, name=name, env={**SETTINGS, "GATEWAY_PORT": str(ports[runtime]), "SERVER": server})
            if runtime == "local":
                stack.down()
            exits.callback(stack.down, volumes=True)
            try:
                stack.up()
            except StackError as error:
                pytest.fail(f"{error.message}; {error.hint}\n{error.details}", pytrace=False)
            return stack

        yield run


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def site(request: pytest.FixtureRequest, run: Run, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Site:
    """The site under one server."""
    runtime, server = request.param
    if unavailable[runtime]:
        not_run(f"runtime {runtime}: {unavailable[runtime]}")
    return Site(server, run(runtime, server))


@pytest.fixture
def stack(site: Site) -> Stack:
    """What a failure is told with: its logs and the configuration of nginx."""
    return site.stack


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_contract(site: Site, behaviour: str) -> None:
    expected: Mapping[str, str] = exceptions(site.server).get(behaviour, {"seen": YES})
    assert BEHAVIOURS[behaviour](site) == expected["seen"]


def test_exceptions_name_behaviours() -> None:
    for file in SERVERS.glob("*/exceptions.toml"):
        assert set(exceptions(file.parent.name)) <= set(BEHAVIOURS)


def test_the_table_of_the_docs_is_current() -> None:
    assert PAGE.read_text() == page()
