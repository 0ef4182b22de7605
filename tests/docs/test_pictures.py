"""The pictures of the documentation show what the files say."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import Browser

from tests import budgets
from tests.budgets import ROOT
from tests.charts import unreadable

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = sorted((ROOT / "docs").glob("*.svg"))
# The picture of the request writes paths without the folder that its box names.
FOLDERS = ("", "nginx/", "waf/")
LONG_ANSWERS = "nginx/docker-entrypoint.d/15-timeouts-and-workers.envsh"
FOR_WAF = "nginx/docker-entrypoint.d/18-waf.envsh"
TIMEOUTS = {
    "client_header_timeout 10s": ("nginx/templates/20-slow-clients.conf.template", "\nclient_header_timeout 10s;"),
    "client_body_timeout 15s": ("nginx/templates/20-slow-clients.conf.template", "\nclient_body_timeout 15s;"),
    "keepalive_timeout 30s, to clients": ("nginx/templates/20-slow-clients.conf.template", "\nkeepalive_timeout 30s;"),
    "proxy_connect_timeout 2s": ("nginx/templates/upstream/app.conf.template", "\nproxy_connect_timeout 2s;"),
    "proxy_read_timeout 35s": (LONG_ANSWERS, "\nexport APP_READ_TIMEOUT=$((GUNICORN_TIMEOUT + 5))\n"),
    "proxy_read_timeout 90s, of the gateway for the WAF": (FOR_WAF, "\nWAF_READ_TIMEOUT=$((2 * APP_READ_TIMEOUT + 20))\n"),
    "keepalive_timeout 1s, to gunicorn": ("nginx/templates/upstream/app.conf.template", " keepalive_timeout 1s;"),
    "worker_shutdown_timeout 30s": ("nginx/nginx.conf", "\nworker_shutdown_timeout 30s;"),
    "timeout = 30": ("gunicorn.conf.py", '\ntimeout = os.environ.get("GUNICORN_TIMEOUT") or 30\n'),
    "keepalive = 65": ("gunicorn.conf.py", "\nkeepalive = 65\n"),
    "graceful_timeout = 30": ("gunicorn.conf.py", "\ngraceful_timeout = 30\n"),
    "stop_grace_period: 40s": ("docker-compose.yml", " stop_grace_period: 40s "),
}


def texts(name: str) -> list[str]:
    return [element.text or "" for element in ET.parse(ROOT / "docs" / name).iter(f"{SVG}text")]  # noqa: S314 - our own file


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_suits_a_telephone_the_dark_and_a_screen_reader(path: Path) -> None:
    root = ET.fromstring(path.read_text())  # noqa: S314 - our own file

    assert root.findtext(f"{SVG}title")
    assert len(root.findtext(f"{SVG}desc") or "") > 40
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
    assert int(root.attrib["width"]) <= 400


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_no_text_lies_over_another_on_a_telephone(path: Path, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.set_content(f"<style>svg {{ width: 100%; height: auto }}</style>{path.read_text()}")
    found = unreadable(page)
    page.close()

    assert found == []


def test_the_files_on_the_way_of_a_request_are_there() -> None:
    named = [text for text in texts("request.svg") if re.fullmatch(r"[\w./-]+[./][\w./-]*", text)]

    assert len(named) >= 10
    assert [name for name in named if not any((ROOT / folder / name).exists() for folder in FOLDERS)] == []


def test_the_timeouts_are_those_of_the_files() -> None:
    shown = {text for text in texts("timeouts.svg") if re.search(r"[ =]\d", text) and "default" not in text}

    assert shown == TIMEOUTS.keys()
    assert [text for text, (name, line) in TIMEOUTS.items() if line not in (ROOT / name).read_text()] == []


def test_what_to_copy_is_about_as_large_as_the_picture_says() -> None:
    copied = budgets.copy()
    gunicorn = {name: size for name, size in copied.items() if name.startswith("gunicorn")}
    nginx = {name: size for name, size in copied.items() if name.startswith(("gunicorn", "nginx/"))}
    shown = [tuple(map(int, re.findall(r"\d+", text.replace(",", "")))) for text in texts("copy.svg") if text.endswith(" lines")]

    assert shown == [pytest.approx((len(part), sum(part.values())), rel=0.1) for part in (gunicorn, nginx, copied)]
