"""gunicorn's file and nginx, beside a Dockerfile of the project's own, as docs/eject.md says."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.clients import wait_until
from tests.eject.conftest import ROOT, copy_as_the_readme_says
from tools.stack.machine import free_ports

NAME = f"kit-nginx-alone-{os.getpid()}"
# As a project may have it: no lock, gunicorn from anywhere, the files for nginx in /srv/static.
DOCKERFILE = """
FROM python:3.14-slim-trixie
COPY requirements.txt /srv/app/
RUN pip install --quiet --root-user-action=ignore gunicorn==27.0.1 --requirement /srv/app/requirements.txt
COPY . /srv/app
RUN cp -r /srv/app/shop/static /srv/static
WORKDIR /srv/app
CMD ["gunicorn", "--bind", "0.0.0.0:8000"]
"""


def commands() -> list[str]:
    """The commands of docs/eject.md for this copy."""
    page = (ROOT / "docs/eject.md").read_text().partition("## gunicorn alone, or with nginx")[2].partition("\n## ")[0]
    return re.findall(r"^    (docker (?:.*\\\n)*.*)$", page, re.MULTILINE)


@pytest.fixture
def site(shop: Path, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[str]:
    """The address of nginx before gunicorn."""
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    copy_as_the_readme_says(1, shop)
    (shop / "Dockerfile").write_text(DOCKERFILE)
    port = free_ports(1)[0]
    script = (
        "\n".join(commands()).replace("myservice", NAME).replace(f"{NAME}:app", "shop:app").replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    )
    try:
        done = subprocess.run(["sh", "-exc", script], cwd=shop, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run(["docker", "rm", "--force", NAME, f"{NAME}-gateway"], capture_output=True, check=False)
        subprocess.run(["docker", "network", "rm", NAME], capture_output=True, check=False)
        subprocess.run(["docker", "image", "rm", NAME, f"{NAME}-gateway"], capture_output=True, check=False)


def test_nginx_stands_before_gunicorn(site: str) -> None:
    with httpx.Client(base_url=site, timeout=10) as visitor:
        wait_until(lambda: serves(visitor), "the site answers", timeout_s=30)
        answer = visitor.get("/", headers={"X-Forwarded-For": "203.0.113.9"})
        style = visitor.get("/static/shop.css")
        unknown = visitor.get("/", headers={"Host": "somewhere.else"})

    assert answer.headers["X-Request-ID"]
    assert answer.json()["scheme"] == "http"
    assert (style.status_code, "ETag" in style.headers) == (200, True)
    assert unknown.status_code == 421


def serves(visitor: httpx.Client) -> bool:
    try:
        return visitor.get("/").status_code == 200
    except httpx.TransportError:
        return False
