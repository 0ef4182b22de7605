"""The gateway without the parts that a copy may lack (tools/eject.py): it starts and serves, and what asks for them is refused."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.nginx.conftest import Gateways
from tests.nginx.gateway import ROOT, check
from tools.eject import WITH

PARTS = [name for name, patterns in WITH.items() if any(pattern.startswith("nginx/") for pattern in patterns)]


def without(parts: Iterable[str], folder: Path) -> Path:
    """A project whose copy of nginx/ has all but these."""
    shutil.copytree(ROOT / "nginx", folder / "nginx")
    for found in [path for part in parts for pattern in WITH[part] for path in folder.glob(pattern)]:
        shutil.rmtree(found) if found.is_dir() else found.unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("parts", [*([name] for name in PARTS), PARTS], ids=" ".join)
def test_nginx_takes_what_is_left(tmp_path: Path, parts: list[str]) -> None:
    done = check(tmp_path, {}, project=without(parts, tmp_path / "project"))

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("load-balancers", "TRUSTED_PROXIES", "10.0.0.0/8"),
        ("maintenance", "MAINTENANCE_ALLOW", "192.0.2.7"),
        ("tls", "LISTENERS", "tls"),
        ("url-prefix", "URL_PREFIX", "/shop"),
        ("waf", "WAF_MODE", "On"),
        ("websockets", "WEBSOCKET_PATHS", "/ws"),
    ],
)
def test_a_setting_of_what_is_missing_is_refused(tmp_path: Path, part: str, name: str, value: str) -> None:
    """Silently ignored, the site would be without TLS, at another path, or without its WAF."""
    done = check(tmp_path, {name: value}, project=without([part], tmp_path / "project"))

    assert done.returncode == 2
    assert re.fullmatch(rf"{name}={value}: write .*make eject, --with {part}\n", done.stderr)


def test_the_smallest_gateway_serves(start_gateway: Gateways, echo_backend: str, tmp_path: Path) -> None:
    """Nobody's X-Forwarded-* is believed, and no Upgrade reaches the application."""
    gateway = start_gateway(echo_backend, project=without(PARTS, tmp_path))
    said = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /shop", "Forwarded: for=192.0.2.7")
    answer = gateway.get("/", "Upgrade: websocket", "Connection: upgrade", *said)
    headers = answer.json()["headers"]
    line = gateway.logged(answer.values("X-Request-ID")[0])

    assert answer.status == 200
    assert {"upgrade", "forwarded", "x-forwarded-prefix"} & headers.keys() == set()
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"], headers["host"]) == ("127.0.0.1", "http", "localhost")
    assert line["client"] == "127.0.0.1"
    assert (line["upstream"], line["upstream_status"]) == (echo_backend, "200")
