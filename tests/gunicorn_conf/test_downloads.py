"""A large file for a slow client holds no sync worker when nginx sends it; by the worker it is cut off."""

import http.client
import re
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gateways import Gateways
from tests.gunicorn_conf.process import Gunicorn, Start
from tests.nginx.gateway import Gateway

# The page's own lines.
(VIEW,) = re.findall(r'(?m)^ +@app\.get\("/files/.*\n(?: +.*\n)+', (Path(__file__).parents[2] / "docs/bodies.md").read_text())
APP = """
from urllib.parse import quote

from flask import Flask, send_from_directory

app = Flask(__name__)
app.add_url_rule("/", view_func=lambda: "ok")


"""
NAME = "a b/größe.bin"
ADDRESS = "/files/a%20b/gr%C3%B6%C3%9Fe.bin"
SIZE = 60_000_000  # more than ANSWER_FILE_SIZE and what the sockets hold
BY_THE_WORKER = ("X-Accel-Redirect", "set_data")
SETTINGS = {"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_TIMEOUT": "2", "APP_MODULE": "site_of:app"}


@pytest.fixture
def behind(start: Start, start_gateway: Gateways, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Gunicorn, Gateway]:
    """One sync worker with the page's view, behind nginx; both have the same folder."""
    folder = tmp_path / "instance"
    view = textwrap.dedent(VIEW).replace("/srv/app/instance", str(folder))
    without, settings = getattr(request, "param", ((), {}))
    for word in without:  # lines that a twin leaves out
        view = "".join(line for line in view.splitlines(keepends=True) if word not in line)
    (tmp_path / "site_of.py").write_text(APP + view)
    gunicorn = start({**SETTINGS, "PYTHONPATH": str(tmp_path)})
    gateway = start_gateway(f"127.0.0.1:{gunicorn.port}", settings)
    folder.symlink_to(gateway.folder / "files")
    (folder / NAME).parent.mkdir()
    (folder / NAME).write_bytes(b"x" * SIZE)
    return gunicorn, gateway


@pytest.fixture
def answer(behind: tuple[Gunicorn, Gateway]) -> Iterator[http.client.HTTPResponse]:
    """The answer to a client that has read nothing of it yet."""
    with closing(http.client.HTTPConnection("127.0.0.1", behind[1].port, timeout=60)) as connection:
        connection.request("GET", ADDRESS, headers={"Host": "localhost"})
        with connection.getresponse() as answer:
            yield answer


def test_the_worker_is_free_at_once_and_the_file_complete(behind: tuple[Gunicorn, Gateway], answer: http.client.HTTPResponse) -> None:
    _, gateway = behind

    assert gateway.get("/").status == 200
    assert answer.status == 200
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe.bin" in answer.headers["Content-Disposition"]
    assert len(answer.read()) == SIZE
    assert gateway.get(ADDRESS, "Range: bytes=0-9,100-109").status == 206
    assert gateway.get(ADDRESS, f"If-None-Match: {answer.headers['ETag']}").status == 304
    assert gateway.get("/files/absent").status == 404
    assert gateway.get("/files/../../secret").status == 400


@pytest.mark.parametrize("behind", [(BY_THE_WORKER, {"ANSWER_FILE_SIZE": "64m"})], indirect=True)
def test_nginx_takes_it_whole_where_a_temp_file_has_room_for_it(behind: tuple[Gunicorn, Gateway], answer: http.client.HTTPResponse) -> None:
    """As with compose/uploads-on-disk.yaml."""
    assert behind[1].get("/").status == 200
    assert len(answer.read()) == SIZE


@pytest.mark.parametrize("behind", [(BY_THE_WORKER, {})], indirect=True)
def test_by_the_worker_it_is_cut_off(behind: tuple[Gunicorn, Gateway], answer: http.client.HTTPResponse) -> None:
    """The twin."""
    gunicorn, _ = behind
    wait_until(lambda: "WORKER TIMEOUT" in gunicorn.log(), "the worker is killed", timeout_s=60)

    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


@pytest.mark.usefixtures("behind")
def test_a_client_cannot_ask_for_it_past_the_application(behind: tuple[Gunicorn, Gateway]) -> None:
    assert behind[1].get("/_files/a%20b/gr%C3%B6%C3%9Fe.bin").status == 404
