"""What cannot be read ends in one line that names the file, and exit code 2; what cannot be checked is said."""

import os
from pathlib import Path

import pytest

from tests.doctor.conftest import MakeKit
from tests.doctor.kits import Report, doctor

SITE, CONF, COMPOSE = "nginx/templates/60-site.conf.template", "gunicorn.conf.py", "docker-compose.yml"


def said(report: Report) -> str:
    """Return the one line on stderr; nothing may be on stdout, and no traceback anywhere."""
    assert report.code == 2, report.stdout + report.stderr
    assert report.stdout == ""
    (line,) = report.stderr.splitlines()
    assert line.startswith("doctor: ")
    return line


@pytest.mark.parametrize("arguments", [("--project", "/no/such/folder"), ("--runtime", "kubernetes")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    report = doctor(*arguments, env={})

    assert report.code == 2
    assert arguments[0] in report.stderr
    assert "Traceback" not in report.stderr


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    assert "it has no docker-compose.yml" in said(doctor("--project", str(tmp_path), env={}))


@pytest.mark.parametrize("name", [CONF, "nginx/Dockerfile"])
def test_a_project_without_a_file_of_the_kit(make_kit: MakeKit, name: str) -> None:
    kit = make_kit()
    (kit.root / name).unlink()

    assert Path(name).name in said(kit.doctor())


def test_a_compose_file_that_is_not_there(make_kit: MakeKit) -> None:
    assert "nothing.yaml" in said(make_kit().doctor(env={"COMPOSE_FILE": "nothing.yaml"}))


def test_a_compose_file_that_is_not_yaml(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(COMPOSE, r"(?m)^services:$", "services: [")

    assert "docker-compose.yml:" in said(kit.doctor())


@pytest.mark.usefixtures("compose_plugin")
def test_a_compose_file_that_compose_refuses(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(COMPOSE, r"    user: postgres\n", "    usr: postgres\n")

    line = said(kit.doctor())

    assert "docker-compose.yml: docker compose refuses it: " in line
    assert "usr" in line


def test_an_nginx_file_without_a_semicolon(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(SITE, r"server_names_hash_bucket_size 512;", "server_names_hash_bucket_size 512")
    number = (kit.root / SITE).read_text().split("server_names_hash_bucket_size")[0].count("\n") + 1

    assert f"{SITE}:{number}: nginx configuration: " in said(kit.doctor())


def test_an_nginx_file_with_a_missing_brace(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(SITE, r"\}\s*\Z", "")

    line = said(kit.doctor())

    assert f"{SITE}:" in line
    assert "}" in line


def test_an_nginx_include_that_names_no_file(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(SITE, r"include snippets/errors.conf;", "include snippets/gone.conf;")

    assert "include snippets/gone.conf names no file" in said(kit.doctor())


@pytest.mark.usefixtures("compose_plugin")
def test_a_setting_that_the_gateway_refuses(make_kit: MakeKit) -> None:
    kit = make_kit()
    (kit.root / ".env").write_text("TRUSTED_PROXIES=0.0.0.0/0\n")

    assert "nginx/docker-entrypoint.d: TRUSTED_PROXIES=0.0.0.0/0" in said(kit.doctor())


def test_a_gunicorn_file_that_is_not_python(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(CONF, r"(?m)^timeout = .*$", "timeout = = 30")
    number = (kit.root / CONF).read_text().split("timeout = = 30")[0].count("\n") + 1

    assert f"gunicorn.conf.py:{number}: SyntaxError" in said(kit.doctor())


def test_a_gunicorn_file_that_raises(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(CONF, r"(?m)^timeout = .*$", "timeout = 30 / 0")

    assert "ZeroDivisionError" in said(kit.doctor())


@pytest.mark.usefixtures("compose_plugin")
def test_a_gunicorn_setting_that_does_not_exist(make_kit: MakeKit) -> None:
    kit = make_kit()
    (kit.root / ".env").write_text("GUNICORN_CMD_ARGS=--timeoot 30\n")

    assert "unrecognized arguments: --timeoot" in said(kit.doctor())


# --- Not checked ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("compose_plugin")
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('no license')", "cannot be imported here: RuntimeError: no license"),
        ("import os\nos._exit(3)", "it ended the process while it was imported"),
        ("def app(environ, start): return []", "is not a Flask application"),
        ("import flask\napp = flask.Flask('shop')", "the application does not use Flask-SQLAlchemy"),
    ],
)
def test_an_application_that_cannot_be_asked(make_kit: MakeKit, code: str, says: str) -> None:
    kit = make_kit()
    (kit.root / "app" / "shop.py").write_text(code)
    (kit.root / ".env").write_text("APP_MODULE=shop:app\n")

    report = kit.doctor("--json")

    finding = report.rules()["pool-threads"]["files"]
    assert finding["verdict"] == "not checked"
    assert says in finding["says"]
    assert report.code == 0


def test_without_docker_the_rest_is_checked(make_kit: MakeKit, tmp_path: Path) -> None:
    """All programs of this machine but docker."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in Path(folder).glob("*"):
            link = programs / program.name
            if program.name != "docker" and not link.is_symlink():
                link.symlink_to(program)

    report = make_kit(app=True).doctor("--json", env={"PATH": str(programs), "WAF_MODE": "Off"})

    reason = "docker is not installed, so the Compose file cannot be resolved"
    assert report.rules()["stop"]["files"] == {"verdict": "not checked", "says": reason, "values": []}
    assert {"request-timeout", "upstream-keepalive", "trusted-proxies"} <= report.with_verdict("ok")
    assert report.code == 0
