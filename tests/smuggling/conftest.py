"""Fixtures: a recording application under each worker class, and the gateway in front of it."""

from collections.abc import Iterator

import pytest

from tests.gateways import Gateways
from tests.nginx.gateway import Gateway
from tests.sites import Sites
from tests.smuggling.wire import Recorder

CLASSES = ("gthread", "gevent", "tornado")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recorder" in metafunc.fixturenames:
        metafunc.parametrize("recorder", CLASSES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def recorder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """The recording application under one worker class."""
    recorder = Recorder(tmp_path_factory.mktemp("recorder"), request.param)
    try:
        recorder.gunicorn.wait_until_ready()
        yield recorder
    finally:
        recorder.gunicorn.stop()


@pytest.fixture(scope="session")
def gateway(shared_gateways: Gateways, recorder: Recorder) -> Gateway:
    """The gateway in front of it, with one worker: so the connections to gunicorn are shared by all clients, and one desync meets them.

    Without the firewall, which would refuse half of what is tried before it could do harm.
    """
    return shared_gateways(recorder.address, {"NGINX_WORKER_PROCESSES": "1", "WAF_MODE": "Off"})


@pytest.fixture(scope="session")
def guarded(shared_sites: Sites, recorder: Recorder) -> Gateway:
    """The same with the WAF between."""
    return shared_sites(recorder.address, {"NGINX_WORKER_PROCESSES": "1"})
