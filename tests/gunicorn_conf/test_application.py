"""APP_MODULE that names a factory without its parentheses."""

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import CONF, PATIENCE_S, Edited, Start, run

CLASSES = ["gthread", "sync", "gevent", "tornado"]


@pytest.mark.parametrize("worker_class", CLASSES)
@pytest.mark.parametrize("name", ["create_app", "create_app()", "with_settings('x')", "hidden"])
def test_it_serves(start: Start, name: str, worker_class: str) -> None:
    gunicorn = start({"APP_MODULE": f"tiny_app:{name}", "GUNICORN_WORKER_CLASS": worker_class})

    assert gunicorn.get("/somewhere")[0] == 200


def test_without_the_hook_each_request_fails(start: Start, edited: Edited) -> None:
    gunicorn = start({"APP_MODULE": "tiny_app:create_app"}, conf=edited("del post_worker_init\n"), ready=False)

    assert wait_until(gunicorn.status, "an answer", timeout_s=PATIENCE_S) == 500


def test_with_the_application_imported_before_the_fork(start: Start) -> None:
    assert start({"APP_MODULE": "tiny_app:create_app"}, arguments=["--preload"]).get("/")[0] == 200


def test_one_that_needs_an_argument_is_refused_by_name() -> None:
    ended = run(["-m", "gunicorn", "--config", str(CONF), "--bind", "127.0.0.1:0"], {"APP_MODULE": "tiny_app:with_settings"})

    assert ended.returncode
    assert "APP_MODULE: with_settings is no application; right would be tiny_app:with_settings(config)" in ended.stderr
