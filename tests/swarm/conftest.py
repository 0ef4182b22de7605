"""Three nodes, made as `make swarm` makes them, under a name and on a network of the tests' own."""

import os
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.conftest import ROOT
from tests.swarm.events import Cluster
from tools.stack.base import read_settings
from tools.stack.machine import free_ports
from tools.swarm.nodes import Nodes


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[Cluster]:
    """The nodes, with the settings that the module has in SETTINGS."""
    if unavailable["compose"]:
        not_run(unavailable["compose"])
    own = {
        "LIMITS": "off",
        "SWARM_REGISTRY_PORT": str(free_ports(1)[0]),
        "SWARM_SUBNET": "10.85.56",
        "SWARM_NODE_IMAGE": "kit-swarm-test-node",
    }
    nodes = Nodes(f"kit-swarm-{os.getpid()}", read_settings(ROOT, {**own, **request.module.SETTINGS}))
    try:
        nodes.up(print)
        yield Cluster(nodes)
    finally:
        nodes.down()
