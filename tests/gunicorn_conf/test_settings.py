"""The environment, GUNICORN_CMD_ARGS, and what is refused by name."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import CONF, PATIENCE_S, Edited, Effective, Refusal, Start, run

PREFLIGHT = ["-c", f"import runpy, sys; sys.path.insert(0, {str(CONF.parent)!r}); runpy.run_module('gunicorn_hooks', run_name='__main__')"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"GUNICORN_CMD_ARGS": "--workers 0"}, ["workers=0", "1 or more"]),
        ({"WEB_CONCURRENCY": "0"}, ["workers=0", "WEB_CONCURRENCY"]),
        ({"LOG_FORMAT": "xml"}, ["LOG_FORMAT=xml", "auto, json or text"]),
        ({"GUNICORN_WORKER_CLASS": "eventlet"}, ["eventlet", "gthread, sync, gevent, tornado"]),
        ({"GUNICORN_WORKER_CLASS": "gevent_pywsgi"}, ["gevent_pywsgi", "gthread, sync, gevent, tornado"]),
        ({"GUNICORN_WORKER_CLASS": "asgi"}, ["asgi", "gthread, sync, gevent, tornado"]),
        ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_THREADS": "2"}, ["threads=2", "gunicorn would run gthread"]),
        ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_CMD_ARGS": "--threads 2"}, ["threads=2", "gunicorn would run gthread"]),
        ({"GUNICORN_CMD_ARGS": "--worker-class gevent_pywsgi"}, ["gevent_pywsgi", "gthread, sync, gevent, tornado"]),
        ({"GUNICORN_CMD_ARGS": "--worker-class gevent --preload"}, ["--worker-class gevent", "GUNICORN_WORKER_CLASS=gevent"]),
        ({"FORWARDED_ALLOW_IPS": "*"}, ["any client could claim any address"]),
    ],
)
def test_a_wrong_setting_is_refused(refusal: Refusal, settings: Mapping[str, str], words: list[str]) -> None:
    line = refusal(settings)

    assert [word for word in words if word not in line] == []


def test_a_class_whose_package_is_missing_is_refused(refusal: Refusal) -> None:
    absent = "import sys\nsys.modules['tornado'] = None\n"

    assert "pip install 'gunicorn[tornado]'" in refusal({"GUNICORN_WORKER_CLASS": "tornado"}, absent=absent)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"GUNICORN_CMD_ARGS": "--timeot 3"}, "gunicorn: error: unrecognized arguments: --timeot"),
        ({"GUNICORN_CMD_ARGS": "--timeout soon"}, "gunicorn: error: argument -t/--timeout: invalid int value: 'soon'"),
        ({"GUNICORN_TIMEOUT": "soon"}, "Invalid value for timeout: soon"),
        ({"GUNICORN_TIMEOUT": "-1"}, "Invalid value for timeout: -1"),
        ({"GUNICORN_THREADS": "many"}, "Invalid value for threads: many"),
    ],
)
def test_gunicorn_itself_names_these(settings: Mapping[str, str], says: str) -> None:
    ended = run(["-m", "gunicorn", "--config", str(CONF)], settings)

    assert ended.returncode in {1, 2}
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


# --- The preflight ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"WEB_CONCURRENCY": "many"}, ["WEB_CONCURRENCY=many", "such as 2"]),
        ({"WEB_CONCURRENCY": ""}, ["WEB_CONCURRENCY=", "such as 2"]),
        ({"WEB_CONCURRENCY": "1.5"}, ["WEB_CONCURRENCY=1.5", "such as 2"]),
        ({"GUNICORN_TIMEOUT": "soon"}, ["GUNICORN_TIMEOUT=soon", "such as 30"]),
        ({"GUNICORN_TIMOUT": "30"}, ["GUNICORN_TIMOUT", "right is GUNICORN_TIMEOUT"]),
        ({"GUNICORN_KEEPALIVE": "70"}, ["GUNICORN_KEEPALIVE", "GUNICORN_CMD_ARGS"]),
        ({"FORWARDED_ALLOW_IPS": "nginx"}, ["FORWARDED_ALLOW_IPS", "172.18.0.0/16"]),
        ({"FORWARDED_ALLOW_IPS": "*"}, ["FORWARDED_ALLOW_IPS", "any client could claim any address"]),
        ({"GUNICORN_CMD_ARGS": "--timeot 3"}, ["unrecognized arguments: --timeot"]),
        ({"GUNICORN_CMD_ARGS": "--timeout soon"}, ["--timeout", "invalid int value: 'soon'"]),
        ({"GUNICORN_CMD_ARGS": "--worker-class eventlet"}, ["eventlet", "gthread, sync, gevent, tornado"]),
        ({"LOG_FORMAT": "xml"}, ["LOG_FORMAT=xml", "auto, json or text"]),
    ],
)
def test_the_preflight_says_it_in_one_line(settings: Mapping[str, str], words: list[str]) -> None:
    ended = run(PREFLIGHT, settings)

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("nothing:app", "No module named 'nothing'"),
        ("nothing.inside:app", "No module named 'nothing'"),
        ("tiny_app:nothing", "Failed to find attribute 'nothing'"),
        ("tiny_app:create_app(", "Failed to parse 'create_app('"),
        ("tiny_app:__name__", "must be callable"),
    ],
)
def test_so_it_does_of_an_application_that_is_not_there(module: str, said: str) -> None:
    ended = run([*PREFLIGHT, "--check-config"], {"APP_MODULE": module})
    (line,) = ended.stderr.splitlines()

    assert ended.returncode == 2
    assert line.startswith(f"APP_MODULE={module}: ")
    assert said in line
    assert "right is package.module:app" in line


def test_what_the_application_itself_fails_at_has_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("import no_such_library")
    ended = run([*PREFLIGHT, "--check-config"], {"APP_MODULE": "failing:app", "PYTHONPATH": str(tmp_path)})

    assert ended.returncode == 1
    assert 'failing.py", line 1' in ended.stderr


@pytest.mark.parametrize("value", ["many", "", "1.5"])
def test_without_the_preflight_gunicorn_dies_of_it(value: str) -> None:
    """The twin: it reads WEB_CONCURRENCY while it is imported, before any configuration."""
    assert "Traceback" in run(["-m", "gunicorn", "--config", str(CONF)], {"WEB_CONCURRENCY": value}).stderr


def test_the_preflight_names_all_wrong_variables_at_once() -> None:
    ended = run(PREFLIGHT, {"GUNICORN_TIMOUT": "1", "GUNICORN_THREADS": "many"})

    assert [line.split()[0] for line in ended.stderr.splitlines()] == ["GUNICORN_THREADS=many:", "GUNICORN_TIMOUT"]


def test_the_preflight_prints_what_would_run() -> None:
    ended = run(PREFLIGHT, {"WEB_CONCURRENCY": "2", "GUNICORN_WORKER_CLASS": "sync"})

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "2 workers of class sync (WEB_CONCURRENCY), 1 requests in flight in each" in ended.stdout
    assert "X-Forwarded-* from 127.0.0.1,::1" in ended.stdout


def test_threads_that_have_no_effect_are_mentioned() -> None:
    ended = run(PREFLIGHT, {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_THREADS": "4"})

    assert ended.returncode == 0
    assert "threads=4 has no effect with worker class gevent" in ended.stdout


# --- What holds -------------------------------------------------------------------------------------------------------


def test_an_empty_variable_is_not_set(effective: Effective) -> None:
    """Compose passes ${NAME:-} that way."""
    empty = dict.fromkeys(["GUNICORN_TIMEOUT", "GUNICORN_THREADS", "GUNICORN_WORKER_CLASS", "LOG_FORMAT", "FORWARDED_ALLOW_IPS"], "")

    assert effective(empty) == effective()


def test_the_command_line_wins_over_gunicorn_cmd_args_and_that_over_the_file(effective: Effective) -> None:
    given = {"GUNICORN_TIMEOUT": "61", "GUNICORN_CMD_ARGS": "--timeout 62 --keep-alive 70"}

    assert effective({"GUNICORN_TIMEOUT": "61"})["timeout"] == "61"
    assert (effective(given)["timeout"], effective(given)["keepalive"]) == ("62", "70")
    assert effective(given, "--timeout", "63")["timeout"] == "63"


def test_the_values_that_the_other_layers_are_sized_by(effective: Effective) -> None:
    wanted = {
        "bind": "['127.0.0.1:8000']",
        "control_socket_disable": "True",
        "graceful_timeout": "30",
        "keepalive": "65",
        "limit_request_field_size": "8193",
        "limit_request_fields": "100",
        "limit_request_line": "8190",
        "max_requests": "10000",
        "max_requests_jitter": "1000",
        "threads": "8",
        "timeout": "30",
        "worker_class": "gthread",
    }
    settings = effective()

    assert {name: settings[name] for name in wanted} == wanted


def test_a_start_with_another_version_says_so(start: Start, edited: Edited) -> None:
    log = start(conf=edited('gunicorn_hooks.TRIED = ("26.0.0",)\n')).log()

    assert "gunicorn_hooks was tried with gunicorn 26.0.0, not with 27.0.1" in log


def test_with_the_version_that_was_tried_it_says_nothing(start: Start) -> None:
    assert "was tried with" not in start().log()


SEARCHES = """
from gunicorn.config import Config
search = Config.__getattr__
Config.__getattr__ = lambda self, name: print("searched for", name, file=sys.stderr, flush=True) or search(self, name)
"""


def test_a_request_finds_its_settings_at_once(start: Start, edited: Edited) -> None:
    gunicorn = start(conf=edited(SEARCHES))
    before = gunicorn.log()
    gunicorn.get("/")

    assert "searched for keepalive" not in gunicorn.log().removeprefix(before)


def test_else_it_would_search_for_each(start: Start, edited: Edited) -> None:
    gunicorn = start(conf=edited(f"{SEARCHES}\ndef post_worker_init(_worker):\n    pass\n"))

    wait_until(lambda: "searched for limit_request_fields" in gunicorn.log(), "a search", timeout_s=PATIENCE_S)
