"""What compose/basic-auth.yaml and compose/microcache.yaml lay into the gateway, with their templates and without Compose."""

import base64
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend, Seen
from tests.nginx.conftest import Gateways
from tests.nginx.gateway import ROOT, Gateway
from tests.nginx.test_errors import HTML, is_page
from tools.local.nginx import Edit

pytestmark = pytest.mark.runtimes("compose")


def lay(name: str, **places: Path) -> Edit:
    """The overlay's template, at the end of one that is there."""
    text = (ROOT / "compose" / f"{name}.conf.template").read_text()
    for place, here in places.items():
        text = text.replace(f"/run/{place}", f'"{here}"')
    return Edit("templates/20-maintenance.conf.template", r"\Z", text.replace("\\", r"\\"))


# --- A name and a password


@pytest.fixture
def closed(start_gateway: Gateways, echo_backend: str, tmp_path: Path) -> Gateway:
    """A gateway that asks for ana's password under /admin."""
    users = tmp_path / "htpasswd"
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "secret"], capture_output=True, text=True, check=True).stdout
    users.write_text(f"ana:{hashed}")
    users.chmod(0o644)
    return start_gateway(echo_backend, {"BASIC_AUTH_PATH": "/admin"}, [lay("basic-auth", htpasswd=users)])


def credentials(text: str) -> str:
    return f"Authorization: Basic {base64.b64encode(text.encode()).decode()}"


def test_the_path_needs_a_password_and_the_rest_does_not(closed: Gateway) -> None:
    refused = closed.get("/admin/users", HTML)

    assert is_page(refused, 401)
    assert refused.values("WWW-Authenticate") == ['Basic realm="Restricted"']
    assert closed.get("/admin/users", credentials("ana:secret")).status == 200
    assert closed.get("/admin", credentials("ana:wrong")).status == 401
    assert [closed.get(path).status for path in ("/", "/healthz", "/blog/admin")] == [200, 200, 200]


@pytest.mark.parametrize(
    "path", ["/%61dmin/users", "/admin%2fusers", "/admin;x", "/x/../admin/users", "/./admin", "/admin/../admin/", "//admin"]
)
def test_no_other_way_of_writing_it_passes(closed: Gateway, path: str) -> None:
    assert closed.get(path).status in {400, 401}


def test_a_static_file_under_the_path_has_no_other_address(closed: Gateway) -> None:
    folder = closed.folder / "static" / "_paths" / "admin" / "static"
    folder.mkdir(parents=True)
    (folder / "panel.css").write_text("body{}")

    assert closed.get("/admin/static/panel.css", credentials("ana:secret")).body == b"body{}"
    for path in ("/admin/static/panel.css", "//admin/static/panel.css", "/admin//static/panel.css"):
        assert closed.get(path).status == 401
    for path in ("/static/_paths/admin/static/panel.css", "/static//_paths/admin/static/panel.css"):
        assert closed.get(path).body != b"body{}"


# --- Files that the app names


def test_a_file_has_the_headers_of_the_apps_answer(start_gateway: Gateways) -> None:
    """Its policy for uploads counts, where it has one, and nginx's own where it has none."""
    own = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "X-Frame-Options": "DENY"}

    def answer(connection: socket.socket, seen: Seen) -> None:
        said = "".join(f"{name}: {value}\r\n" for name, value in own.items()) if seen.target == "/own" else ""
        connection.sendall(f"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /_files/a.html\r\n{said}Content-Length: 0\r\n\r\n".encode())

    with RawBackend(answer) as backend:
        gateway = start_gateway(backend.address)
        (gateway.folder / "files" / "a.html").write_text("<p>hello")
        named, plain = gateway.get("/own"), gateway.get("/")

    assert named.body == plain.body == b"<p>hello"
    assert {name: named.values(name) for name in own} == {name: [value] for name, value in own.items()}
    assert [plain.values(name) for name in own] == [["nosniff"], [], ["SAMEORIGIN"]]


# --- Kept answers


class Pages:
    """A backend that numbers its answers; a path says how they look."""

    def __init__(self) -> None:
        self.backend = RawBackend(self._answer)
        self.gate = threading.Event()
        self.gate.set()

    def _answer(self, connection: socket.socket, seen: Seen) -> None:
        body = str(len(self.backend.seen)).encode()
        self.gate.wait(30)
        kept = {"/cookie": "Set-Cookie: a=b", "/private": "Cache-Control: private", "/missing": "Cache-Control: max-age=60"}
        headers = kept.get(seen.target, "X: y")
        body = body.ljust(1_000_000 if seen.target == "/large" else 0)
        status = "500 Broken" if seen.target == "/broken" and len(self.backend.seen) > 1 else "200 OK"
        status = "404 Not Found" if seen.target == "/missing" else status
        connection.sendall(f"HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def cached(start_gateway: Gateways, pages: Pages) -> Iterator[Callable[[str], Gateway]]:
    """Return a function (MICROCACHE_SECONDS) -> a gateway with the cache, in front of `pages`."""
    with ExitStack() as exits:
        backend = exits.enter_context(pages.backend)

        def start(seconds: str) -> Gateway:
            return start_gateway(backend.address, {"MICROCACHE_SECONDS": seconds}, [lay("microcache")])

        yield start


def test_a_page_is_asked_for_once(cached: Callable[[str], Gateway]) -> None:
    gateway = cached("60")

    assert {gateway.get("/").body for _ in range(5)} == {b"1"}
    assert gateway.get("/?q=1").body == b"2"


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/", "Cookie: session=x"),
        ("/", "Authorization: Bearer x"),
        *[(path, "X-A: b") for path in ("/cookie", "/private", "/large", "/missing")],
    ],
)
def test_what_may_be_somebodys_own_is_never_kept(cached: Callable[[str], Gateway], path: str, header: str) -> None:
    gateway = cached("60")

    assert [gateway.get(path, header).body.strip() for _ in range(3)] == [b"1", b"2", b"3"]


def test_one_visitors_page_is_not_given_to_another(cached: Callable[[str], Gateway]) -> None:
    """Neither what a visitor with a cookie got, nor to a visitor with a cookie what is kept."""
    gateway = cached("60")

    assert gateway.get("/", "Cookie: session=x").body == b"1"
    assert gateway.get("/").body == b"2"
    assert gateway.get("/", "Cookie: session=x").body == b"3"
    assert gateway.get("/").body == b"2"


def test_a_write_is_never_kept(cached: Callable[[str], Gateway]) -> None:
    gateway = cached("60")

    assert [gateway.request("POST", "/", body=b"a=b").body for _ in range(2)] == [b"1", b"2"]


def test_what_a_body_asked_for_is_not_kept(cached: Callable[[str], Gateway]) -> None:
    gateway = cached("60")

    assert [gateway.request("GET", "/", body=b"a=b").body for _ in range(2)] == [b"1", b"2"]
    assert gateway.get("/").body == b"3"
    assert gateway.request("GET", "/", body=b"a=b").body == b"4"


def test_without_the_length_condition_a_large_answer_is_kept(start_gateway: Gateways, pages: Pages) -> None:
    """The twin."""
    edit = lay("microcache")
    without = edit._replace(replacement=edit.replacement.replace(" $kit_not_kept;", ";"))
    with pages.backend as backend:
        gateway = start_gateway(backend.address, {"MICROCACHE_SECONDS": "60"}, [without])

        assert {gateway.get("/large").body.strip() for _ in range(3)} == {b"1"}


def test_a_crowd_asks_once_and_waits_for_it(cached: Callable[[str], Gateway], pages: Pages) -> None:
    gateway = cached("60")
    pages.gate.clear()
    with ThreadPoolExecutor(8) as crowd:
        answers = [crowd.submit(gateway.get, "/") for _ in range(8)]
        wait_until(lambda: pages.backend.seen, "the first has arrived")
        pages.gate.set()

    assert {answer.result().body for answer in answers} == {b"1"}


def test_the_old_page_is_given_while_a_new_one_is_fetched(cached: Callable[[str], Gateway], pages: Pages) -> None:
    gateway = cached("1")
    assert gateway.get("/").body == b"1"
    pages.gate.clear()
    wait_until(lambda: gateway.get("/").body == b"1" and len(pages.backend.seen) > 1, "it is out of date and is fetched")
    assert gateway.get("/").body == b"1"
    pages.gate.set()

    wait_until(lambda: gateway.get("/").body != b"1", "the new one is there")


def test_the_old_page_is_given_while_the_app_fails(cached: Callable[[str], Gateway], pages: Pages) -> None:
    gateway = cached("1")
    assert gateway.get("/broken").body == b"1"
    wait_until(lambda: gateway.get("/broken").body == b"1" and len(pages.backend.seen) > 2, "it was asked for, and broken, again")

    assert gateway.get("/broken").status == 200


@pytest.mark.bench
def test_the_gain(start_gateway: Gateways, note: Callable[[str], None]) -> None:
    """Requests a second over 8 connections of a page that takes 20 ms of a processor, side by side."""

    def work(connection: socket.socket, _: Seen) -> None:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    def rate(gateway: Gateway) -> float:
        until = time.monotonic() + 5

        def client() -> int:
            count = 0
            while time.monotonic() < until:
                assert gateway.get("/").status == 200
                count += 1
            return count

        with ThreadPoolExecutor(8) as clients:
            return sum(done.result() for done in [clients.submit(client) for _ in range(8)]) / 5

    with RawBackend(work) as backend:
        plain = start_gateway(backend.address)
        kept = start_gateway(backend.address, {"MICROCACHE_SECONDS": "1"}, [lay("microcache")])
        rates = [(rate(plain), rate(kept)) for _ in range(3)]
    for before, after in rates:
        note(f"microcache: {before:.0f} requests/s without, {after:.0f} with it ({after / before:.1f} times)")


def test_the_overlays_name_their_templates_and_settings() -> None:
    for name in ("basic-auth", "microcache"):
        overlay, template = ((ROOT / "compose" / f"{name}{ending}").read_text() for ending in (".yaml", ".conf.template"))
        assert f"./compose/{name}.conf.template:/etc/nginx/templates/" in overlay
        settings = set(re.findall(r"\$\{(\w+)\}", template)) - {"URL_PREFIX"}  # the gateway's own
        assert all(f"{setting}:" in overlay for setting in settings)
