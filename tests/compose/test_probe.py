"""The app's health check is red whenever the service would not answer."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.fixture
def probe(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("app/probe.py")


@contextmanager
def server(answer: bytes | None) -> Iterator[tuple[int, list[bytes]]]:
    """Listen, and give every client `answer`; None: say nothing until the end. Yields the port and what was asked."""
    asked: list[bytes] = []
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            asked.append(client.recv(4096))
            if answer is None:
                over.wait()
            else:
                client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield listener.getsockname()[1], asked
        over.set()
        thread.join()


def ask(probe: ModuleType, monkeypatch: pytest.MonkeyPatch, port: int, **settings: str) -> int:
    """Run the probe with these settings."""
    for name, value in {"HEALTH_PATH": "", "PROBE_TIMEOUT": "", "SERVER_NAMES": "", **settings}.items():
        monkeypatch.setenv(name, value)
    return int(probe.main(port))


def test_200_is_health(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(OK) as (port, asked):
        assert ask(probe, monkeypatch, port) == 0

    assert asked[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n")


def test_the_path_is_a_setting(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(OK) as (port, asked):
        assert ask(probe, monkeypatch, port, HEALTH_PATH="/up") == 0

    assert asked[0].startswith(b"GET /up ")


@pytest.mark.parametrize(
    ("names", "host"),
    [
        ("www.example.org example.org", "www.example.org"),
        ("*.example.org", "www.example.org"),
        (".example.org", "example.org"),
        ("[::1]", "[::1]"),
    ],
)
def test_it_asks_for_the_first_name_of_the_site(probe: ModuleType, monkeypatch: pytest.MonkeyPatch, names: str, host: str) -> None:
    with server(OK) as (port, asked):
        assert ask(probe, monkeypatch, port, SERVER_NAMES=names) == 0

    assert f"\r\nHost: {host}\r\n".encode() in asked[0]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 500 INTERNAL SERVER ERROR\r\n\r\n", "500"),
        (b"HTTP/1.1 302 FOUND\r\nLocation: /login\r\n\r\n", "302 FOUND (Location: /login)"),
        (b"HTTP/1.1 404 NOT FOUND\r\nX: 200\r\n\r\n", "404"),
        (b"", "closed without an answer"),
    ],
)
def test_anything_else_is_not(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: bytes, word: str
) -> None:
    with server(answer) as (port, _):
        assert ask(probe, monkeypatch, port) == 1

    assert word in capsys.readouterr().err


def test_a_service_that_hangs_is_ill(probe: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with server(None) as (port, _):
        assert ask(probe, monkeypatch, port, PROBE_TIMEOUT="0.2") == 1

    assert "TimeoutError" in capsys.readouterr().err


def test_a_service_that_is_gone_is_ill(probe: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert ask(probe, monkeypatch, port) == 1
    assert "ConnectionRefusedError" in capsys.readouterr().err
