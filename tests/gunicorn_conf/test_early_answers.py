"""A view that answers without reading the body: the client behind nginx gets that answer."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients import Session, wait_until
from tests.gateways import Gateways
from tests.gunicorn_conf.process import CONF, Edited, Start

BODY = b"x" * 10_000_000  # just under MAX_CONTENT_LENGTH; under 1 MB most of it is in the sockets when gunicorn closes
KIND = {"Content-Type": "application/octet-stream"}
CLASSES = ["sync", "gthread", "gevent"]
# gevent keeps the connections to nginx, so only with this does it close one.
CLOSE = ["--keep-alive", "0"]
# An answer that nginx's buffers and the sockets do not hold: without the hook it is cut off.
LARGE = "/200?5000000"


def statuses(url: str, path: str, requests: int) -> Counter[int | None]:
    """Send so many requests from four clients; None is an answer that was cut off."""

    def send(_: int) -> int | None:
        with Session(url) as session:
            return session.send("POST", path, body=BODY, headers=KIND).status

    with ThreadPoolExecutor(4) as pool:
        return Counter(pool.map(send, range(requests)))


@pytest.mark.parametrize("worker_class", CLASSES)
def test_it_arrives(start: Start, start_gateway: Gateways, worker_class: str) -> None:
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class}, arguments=CLOSE)
    url = start_gateway(f"127.0.0.1:{gunicorn.port}").url

    assert statuses(url, "/401", 20) == {401: 20}
    assert statuses(url, LARGE, 5) == {200: 5}
    assert "Traceback" not in gunicorn.log()


@pytest.mark.parametrize("worker_class", CLASSES)
def test_without_the_hook_nginx_answers_502(start: Start, start_gateway: Gateways, worker_class: str, edited: Edited) -> None:
    """The twin; 28 to 88 %."""
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class}, arguments=CLOSE, conf=edited("del post_request\n"))
    url = start_gateway(f"127.0.0.1:{gunicorn.port}").url

    wait_until(lambda: statuses(url, "/401", 20)[502], "an answer is lost")
    wait_until(lambda: statuses(url, LARGE, 5)[None], "a large answer is cut off")


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("worker_class", CLASSES)
def test_figures(start: Start, start_gateway: Gateways, worker_class: str, edited: Edited, note: Callable[[str], None]) -> None:
    """Count what comes of 1,000 requests for each kind of answer, and of 200 without the hook."""
    for name, conf, requests in (("hook", CONF, 1000), ("no hook", edited("del post_request\n"), 200)):
        gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class}, arguments=CLOSE, conf=conf)
        url = start_gateway(f"127.0.0.1:{gunicorn.port}").url
        for status in (200, 302, 401, 413):
            note(f"{start_gateway.runtime}, {worker_class}, {name}, {status}: {dict(statuses(url, f'/{status}', requests))}")
