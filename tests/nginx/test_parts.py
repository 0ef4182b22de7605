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
    """No Upgrade reaches the application, what a proxy says in Forwarded is in the log, and nobody reads files of the application."""
    settings = {"TRUSTED_PROXIES": "127.0.0.0/8"}
    gateway = start_gateway(echo_backend, settings, project=without(PARTS, tmp_path))
    answer = gateway.get("/", "Upgrade: websocket", "Connection: upgrade", "Forwarded: for=192.0.2.7")
    headers = answer.json()["headers"].keys()
    line = gateway.logged(answer.values("X-Request-ID")[0])

    assert answer.status == 200
    assert {"upgrade", "forwarded"} & headers == set()
    assert (line["client"], line["forwarded_ignored"]) == ("127.0.0.1", "Forwarded: for=192.0.2.7; ")
    assert (line["upstream"], line["upstream_status"]) == (echo_backend, "200")
    assert gateway.get("/", "X-Forwarded-For: 192.0.2.7").json()["headers"]["x-forwarded-for"] == "192.0.2.7"
