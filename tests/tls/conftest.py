"""Fixtures: certificates of the tests' own, and the gateway with TLS."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.gateways import Gateways
from tests.smuggling.wire import Recorder
from tests.tls.pairs import Pair, make_pair
from tests.tls.tls import TlsGateway

StartTls = Callable[..., TlsGateway]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for localhost, 127.0.0.1 and www.example.org."""
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """The recording application of the smuggling tests under gthread."""
    recorder = Recorder(tmp_path_factory.mktemp("recorder"), "gthread")
    try:
        recorder.gunicorn.wait_until_ready()
        yield recorder
    finally:
        recorder.gunicorn.stop()


def start(gateways: Gateways, upstream: str, pair: Pair, env: Mapping[str, str]) -> TlsGateway:
    gateway = gateways(upstream, {"LISTENERS": "tls", **env}, tls=pair.certificate.parent)
    return TlsGateway(gateway, gateway.tls_port, pair.certificate)


@pytest.fixture
def start_tls(start_gateway: Gateways, recorder: Recorder, pair: Pair) -> StartTls:
    """Return a function (pair=, **settings) that starts a gateway with TLS for this test alone."""
    return lambda pair=pair, **env: start(start_gateway, recorder.address, pair, env)


@pytest.fixture(scope="session")
def gateway(shared_gateways: Gateways, recorder: Recorder, pair: Pair) -> TlsGateway:
    """A gateway with TLS and otherwise default settings."""
    return start(shared_gateways, recorder.address, pair, {"SERVER_NAMES": "localhost 127.0.0.1 www.example.org"})
