"""WebSockets and server-sent events pass gateway, WAF and gunicorn; their time-outs are settings."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from simple_websocket import Client, ConnectionClosed

from tests.gunicorn_conf.process import CONF, Gunicorn
from tests.sites import Sites
from tests.waf.site import Site

pytestmark = pytest.mark.runtimes("compose")

HERE = Path(__file__).parent
SOCKETS = {"WEBSOCKET_PATHS": "/ws /socket.io/"}
Serve = Callable[[Mapping[str, str]], str]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Return a function (settings) -> address of a gunicorn with long_app; the same settings share one."""
    running: dict[str, Gunicorn] = {}

    def start(settings: Mapping[str, str]) -> str:
        key = str(sorted(settings.items()))
        if key not in running:
            given = {"APP_MODULE": "long_app:app", "PYTHONPATH": str(HERE), **settings}
            running[key] = Gunicorn(tmp_path_factory.mktemp("gunicorn"), CONF, given, ())
            running[key].wait_until_ready()
        return f"127.0.0.1:{running[key].port}"

    yield start
    for gunicorn in running.values():
        gunicorn.stop()


def socket(site: Site, path: str = "/ws") -> Client:
    return Client(f"ws://localhost:{site.port}{path}")


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_a_websocket_passes_gateway_and_waf(start_site: Sites, serve: Serve, worker_class: str) -> None:
    site = start_site(serve({"GUNICORN_WORKER_CLASS": worker_class}), SOCKETS)

    for path in ("/ws", "/ws/room"):
        client = socket(site, path)
        client.send("hello")
        assert client.receive(timeout=20) == "hellohello"
        client.close()
    # Neither gunicorn's worker nor the connection that nginx keeps was spoilt by it.
    assert site.get("/").body == b"upgrade="


def test_what_an_upgrade_asks_for_is_inspected(start_site: Sites, serve: Serve) -> None:
    site = start_site(serve({}), SOCKETS)

    assert site.get("/ws?q=<script>alert(1)</script>", "Upgrade: websocket").status == 403


def test_anywhere_else_an_upgrade_is_refused(start_site: Sites, serve: Serve) -> None:
    sites = [start_site(serve({}), env) for env in ({}, SOCKETS)]

    assert [site.get(path, "Upgrade: WebSocket").status for site, path in zip(sites, ("/ws", "/wsx"), strict=True)] == [403, 403]
    # What asks for another protocol is an ordinary request.
    assert sites[0].get("/", "Upgrade: h2c").body == b"upgrade="


def test_a_websocket_that_is_silent_for_too_long_is_closed(start_site: Sites, serve: Serve) -> None:
    site = start_site(serve({}), {**SOCKETS, "WEBSOCKET_TIMEOUT": "1"})
    client = socket(site)
    client.send("first")

    assert client.receive(timeout=20) == "firstfirst"
    with pytest.raises(ConnectionClosed):
        client.receive(timeout=20)
    client.thread.join()


def test_one_setting_moves_the_time_outs_of_long_answers(start_site: Sites, serve: Serve) -> None:
    """GUNICORN_TIMEOUT=1: nginx waits 6 s between two parts of an answer."""
    got = {seconds: events(start_site(serve({}), {"GUNICORN_TIMEOUT": seconds}), n=1, s=8) for seconds in ("1", "30")}

    assert got == {"1": ": still here\n\n", "30": ": still here\n\ndata: done\n\n"}


def test_a_comment_now_and_then_keeps_a_stream_open(start_site: Sites, serve: Serve) -> None:
    site = start_site(serve({}), {"GUNICORN_TIMEOUT": "1"})

    assert events(site, n=4, s=2).endswith("data: done\n\n")


def events(site: Site, **query: int) -> str:
    """What arrived of a stream until its end, however it ended."""
    got = ""
    with closing(httpx.Client(timeout=60)) as client, client.stream("GET", f"http://localhost:{site.port}/events", params=query) as answer:
        try:
            for part in answer.iter_text():
                got += part
        except httpx.RemoteProtocolError:
            return got
    return got
