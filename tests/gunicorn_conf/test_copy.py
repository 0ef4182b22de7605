"""The file works in somebody else's project: as it is, without any one of the hooks, and alone."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.gunicorn_conf.process import CONF, HOOKS, Start, copy_of_the_kit, run

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "4")])
    return [b"true"]
"""
REMOVABLE = sorted(path.stem for path in HOOKS.glob("*.py") if path.stem != "__init__")


def without_lines(conf: Path, word: str) -> None:
    """Delete each line that holds `word`, as `sed /word/d` does."""
    conf.write_text("".join(line for line in conf.read_text().splitlines(keepends=True) if word not in line))


@pytest.mark.parametrize("folder", ["", "app"])
def test_beside_an_application_or_an_app_folder(start: Start, tmp_path: Path, folder: str) -> None:
    conf = copy_of_the_kit(tmp_path)
    (conf.parent / "app").mkdir()
    (conf.parent / "app" / "shop.py" if folder else tmp_path / "shop.py").write_text(APP)
    gunicorn = start({"APP_MODULE": "shop:application"}, conf=conf)

    assert gunicorn.get("/") == (200, True)


@pytest.mark.parametrize("name", REMOVABLE)
def test_without_one_of_the_hooks_it_serves(start: Start, tmp_path: Path, name: str) -> None:
    conf = copy_of_the_kit(tmp_path)
    (conf.parent / "gunicorn_hooks" / f"{name}.py").unlink()
    without_lines(conf, f"gunicorn_hooks.{name}")
    gunicorn = start(conf=conf)

    assert gunicorn.get("/")[0] == 200
    gunicorn.signal(signal.SIGTERM)
    assert gunicorn.wait() == 0


ALL_IN_USE = {"METRICS": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}  # without them two are not imported


@pytest.mark.parametrize("name", [name for name in REMOVABLE if name != "__main__"])
def test_with_its_lines_left_in_it_does_not_start(tmp_path: Path, name: str) -> None:
    """The twin: each file is in use."""
    conf = copy_of_the_kit(tmp_path)
    (conf.parent / "gunicorn_hooks" / f"{name}.py").unlink()

    assert f"No module named 'gunicorn_hooks.{name}'" in run(["-m", "gunicorn", "--config", str(conf)], ALL_IN_USE).stderr


@pytest.mark.parametrize("worker_class", ["gthread", "sync", "gevent", "tornado"])
def test_alone_it_serves(start: Start, tmp_path: Path, worker_class: str) -> None:
    conf = Path(shutil.copy(CONF, tmp_path))
    without_lines(conf, "gunicorn_hooks")
    gunicorn = start({"GUNICORN_WORKER_CLASS": worker_class}, conf=conf)

    assert gunicorn.get("/")[0] == 200
