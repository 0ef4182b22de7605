"""The file works in somebody else's project as it is."""

import shutil
from pathlib import Path

import pytest

from tests.gunicorn_conf.process import CONF, Start, run

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "4")])
    return [b"true"]
"""


@pytest.mark.parametrize("folder", ["", "app"])
def test_beside_an_application_or_an_app_folder(start: Start, tmp_path: Path, folder: str) -> None:
    conf = shutil.copy(CONF, tmp_path)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "shop.py").write_text(APP)
    gunicorn = start({"APP_MODULE": "shop:application"}, conf=Path(conf))

    assert gunicorn.get("/") == (200, True)


def test_as_a_script_it_says_what_would_run(tmp_path: Path) -> None:
    said = run([str(shutil.copy(CONF, tmp_path))], {"WEB_CONCURRENCY": "2", "GUNICORN_WORKER_CLASS": "sync"})

    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("2 workers of class sync (WEB_CONCURRENCY), 1 requests at once in each")
