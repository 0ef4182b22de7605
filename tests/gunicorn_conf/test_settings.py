"""Every setting of gunicorn can be given by the environment, and a wrong one is refused by name."""

from collections.abc import Mapping

import pytest

from tests.gunicorn_conf.process import CONF, Effective, Refusal, run


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"GUNICORN_TIMOUT": "30"}, ["GUNICORN_TIMOUT", "nearest is GUNICORN_TIMEOUT"]),
        ({"GUNICORN_XYZZY": "1"}, ["GUNICORN_XYZZY", "gunicorn --help"]),
        ({"GUNICORN_TIMEOUT": "soon"}, ["GUNICORN_TIMEOUT=soon", "such as 30"]),
        ({"GUNICORN_TIMEOUT": "-1"}, ["GUNICORN_TIMEOUT=-1", "positive"]),
        ({"GUNICORN_RELOAD": "yes"}, ["GUNICORN_RELOAD=yes", "true or false"]),
        ({"GUNICORN_SECURE_SCHEME_HEADERS": "https"}, ["GUNICORN_SECURE_SCHEME_HEADERS", "JSON"]),
        ({"GUNICORN_CHDIR": "/no/such/folder"}, ["GUNICORN_CHDIR=/no/such/folder"]),
        ({"GUNICORN_CONFIG": "other.py"}, ["GUNICORN_CONFIG", "--config"]),
        ({"GUNICORN_WORKERS": "0"}, ["workers=0", "1 or more"]),
        ({"WEB_CONCURRENCY": "0"}, ["WEB_CONCURRENCY=0", "1 or more"]),
        ({"LOG_FORMAT": "xml"}, ["LOG_FORMAT=xml", "auto, json or text"]),
        ({"GUNICORN_WORKER_CLASS": "eventlet"}, ["eventlet", "removed it in 26.0", "gthread, sync, gevent, tornado"]),
        ({"GUNICORN_WORKER_CLASS": "gevnt"}, ["gevnt", "nearest is gevent"]),
        ({"GUNICORN_WORKER_CLASS": "gevent_pywsgi"}, ["gevent_pywsgi", "smuggled"]),
        ({"GUNICORN_WORKER_CLASS": "asgi"}, ["asgi", "WSGI"]),
        ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_THREADS": "2"}, ["threads=2", "silently run gthread"]),
    ],
)
def test_a_wrong_setting_is_refused_by_name(refusal: Refusal, settings: Mapping[str, str], words: list[str]) -> None:
    line = refusal(settings)

    assert [word for word in words if word not in line] == []


def test_the_command_line_is_held_to_the_same_rules(refusal: Refusal) -> None:
    assert "silently run gthread" in refusal({}, "--worker-class", "sync", "--threads", "2")
    assert "eventlet" in refusal({"GUNICORN_CMD_ARGS": "--worker-class eventlet"})


def test_all_wrong_settings_are_named_at_once() -> None:
    ended = run([str(CONF)], {"GUNICORN_TIMOUT": "1", "GUNICORN_KEEPALIVE": "long"})

    assert ended.returncode == 2
    assert [line.split()[1] for line in ended.stderr.splitlines()] == ["GUNICORN_KEEPALIVE=long:", "GUNICORN_TIMOUT:"]


@pytest.mark.parametrize("value", ["many", "", "1.5"])
def test_run_as_a_script_it_refuses_what_gunicorn_would_die_of(value: str) -> None:
    """It reads WEB_CONCURRENCY while it is imported, before any configuration."""
    checked = run([str(CONF)], {"WEB_CONCURRENCY": value})
    unchecked = run(["-m", "gunicorn", "--config", str(CONF)], {"WEB_CONCURRENCY": value})

    assert (checked.returncode, len(checked.stderr.splitlines())) == (2, 1)
    assert f"WEB_CONCURRENCY={value}: right is" in checked.stderr
    assert "Traceback" in unchecked.stderr


def test_threads_that_have_no_effect_are_mentioned() -> None:
    ended = run([str(CONF)], {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_THREADS": "4"})

    assert ended.returncode == 0
    assert "threads=4 has no effect with worker class gevent" in ended.stderr


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"GUNICORN_TIMEOUT": "61"}, "timeout", "61"),
        ({"GUNICORN_TIMEOUT": ""}, "timeout", "30"),  # Compose passes ${NAME:-} that way
        ({"GUNICORN_RELOAD": "true"}, "reload", "True"),
        ({"GUNICORN_UMASK": "0x17"}, "umask", "23"),
        ({"GUNICORN_RAW_ENV": "A=1 'B=two words'"}, "raw_env", "['A=1', 'B=two words']"),
        ({"GUNICORN_SECURE_SCHEME_HEADERS": '{"X-TLS": "1"}'}, "secure_scheme_headers", "{'X-TLS': '1'}"),
        ({"GUNICORN_FORWARDER_HEADERS": "SCRIPT_NAME"}, "forwarder_headers", "['SCRIPT_NAME']"),
        ({"GUNICORN_STATSD_HOST": "127.0.0.1:8125"}, "statsd_host", "('127.0.0.1', 8125)"),
        ({"GUNICORN_WSGI_APP": "other:app"}, "wsgi_app", "other:app"),
        ({"GUNICORN_WORKERS": "3", "WEB_CONCURRENCY": "2"}, "workers", "3"),
        ({"WEB_CONCURRENCY": "2"}, "workers", "2"),
    ],
)
def test_a_setting_is_typed_by_gunicorns_own_table(effective: Effective, settings: Mapping[str, str], name: str, value: str) -> None:
    assert effective(settings)[name] == value


def test_the_command_line_beats_the_environment_which_beats_the_file(effective: Effective) -> None:
    given = {"GUNICORN_TIMEOUT": "61", "GUNICORN_CMD_ARGS": "--timeout 62"}

    assert effective()["timeout"] == "30"
    assert effective({"GUNICORN_TIMEOUT": "61"})["timeout"] == "61"
    assert effective(given)["timeout"] == "62"
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
