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

NAMES = os.environ.get("SERVERS", "uwsgi granian waitress").split()
SETTINGS = {"LAB_ENABLED": "1", "LIMITS": "off", "WAF_MODE": "Off", "WAF_REPLICAS": "0", "APP_REPLICAS": "1"}


@pytest.fixture(scope="module")
def running(runtime: str) -> Iterator[Callable[[str], Stack]]:
    """Return a function that lets a server run in the stack of this module."""
    name, port = f"kit-test-{os.getpid()}-servers", str(free_ports(1)[0])
    with ExitStack() as exits:

        def run(server: str) -> Stack:
            stack = open_stack(runtime, name=name, env={**SETTINGS, "GATEWAY_PORT": port, "SERVER": server})
            if runtime == "local":
                stack.down()
            exits.callback(stack.down, volumes=True)
            try:
                stack.up()
            except StackError as error:
                pytest.fail(f"{error.message}; {error.hint}\n{error.details}", pytrace=False)
            return stack

        yield run


@pytest.fixture(scope="module", params=NAMES)
def site(request: pytest.FixtureRequest, running: Callable[[str], Stack], runtime: str, not_run: Callable[[str], None]) -> Site:
    """The site under one server."""
    if description(request.param).get("only", runtime) != runtime:
        not_run(f"{request.param} is for another runtime than {runtime}")
    return Site(request.param, running(request.param))


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_contract(site: Site, behaviour: str) -> None:
    expected: Mapping[str, str] = exceptions(site.server).get(behaviour, {"seen": YES})
    assert BEHAVIOURS[behaviour](site) == expected["seen"]


def test_exceptions_name_behaviours() -> None:
    for file in SERVERS.glob("*/exceptions.toml"):
        assert set(exceptions(file.parent.name)) <= set(BEHAVIOURS)


def test_the_table_of_the_docs_is_current() -> None:
    assert PAGE.read_text() == page()
