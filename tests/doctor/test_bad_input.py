"""What cannot be read ends in one line that names the file, and exit code 2; what cannot be checked is said."""

import importlib.util
import os
import shutil
import venv
from pathlib import Path

import pytest

from tests.doctor.conftest import MakeKit
from tests.doctor.kits import ROOT, Report, doctor

SITE, CONF, COMPOSE = "nginx/conf.d/60-site.conf.template", "gunicorn.conf.py", "docker-compose.yml"


def said(report: Report) -> str:
    """Return the one line on stderr; nothing may stand on stdout, and no traceback anywhere."""
    assert report.code == 2, report.stdout + report.stderr
    assert report.stdout == ""
    (line,) = report.stderr.splitlines()
    assert line.startswith("doctor: ")
    return line


def test_no_such_folder(tmp_path: Path) -> None:
    report = doctor("--dir", str(tmp_path / "nowhere"), env={})

    assert "nowhere: no such folder" in said(report)


def test_a_folder_that_is_no_kit(tmp_path: Path) -> None:
    report = doctor("--dir", str(tmp_path), env={})

    assert "not a kit, it has no docker-compose.yml, no nginx/render, no gunicorn.conf.py" in said(report)


def test_a_compose_file_that_is_not_there(make_kit: MakeKit) -> None:
    report = make_kit().doctor("--file", "nothing.yaml")

    assert "nothing.yaml" in said(report)


def test_a_wrong_option_is_a_usage_error() -> None:
    report = doctor("--runtime", "kubernetes", env={})

    assert report.code == 2
    assert "'kubernetes' is not one of" in report.stderr
    assert "Traceback" not in report.stderr


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
    kit.edit(SITE, r"include snippets/site.conf;", "include snippets/gone.conf;")

    assert "include snippets/gone.conf names no file" in said(kit.doctor())


@pytest.mark.usefixtures("compose_plugin")
def test_a_setting_that_render_refuses(make_kit: MakeKit) -> None:
    kit = make_kit()
    (kit.root / ".env").write_text("TRUSTED_PROXIES=0.0.0.0/0\n")

    assert "nginx/render: TRUSTED_PROXIES: '0.0.0.0/0'" in said(kit.doctor())


def test_a_gunicorn_file_with_a_syntax_error(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(CONF, r"(?m)^timeout = .*$", "timeout = = 30")
    number = (kit.root / CONF).read_text().split("timeout = = 30")[0].count("\n") + 1

    assert f"gunicorn.conf.py:{number}: SyntaxError" in said(kit.doctor())


def test_a_gunicorn_file_that_raises(make_kit: MakeKit) -> None:
    kit = make_kit()
    kit.edit(CONF, r"(?m)^timeout = .*$", "timeout = 30 / 0")

    assert "gunicorn.conf.py:" in said(kit.doctor())
    assert "ZeroDivisionError" in said(kit.doctor())


@pytest.mark.usefixtures("compose_plugin")
def test_a_gunicorn_setting_that_does_not_exist(make_kit: MakeKit) -> None:
    kit = make_kit()
    (kit.root / ".env").write_text("GUNICORN_CMD_ARGS=--timeoot 30\n")

    assert "unrecognized arguments: --timeoot" in said(kit.doctor())


@pytest.mark.usefixtures("compose_plugin")
def test_an_application_that_cannot_be_imported_is_not_checked(make_kit: MakeKit) -> None:
    """Somebody else's project, looked at from a Python without its packages: all other rules still count."""
    report = make_kit(app=False).doctor("--json")

    finding = report.rules()["body-size"]["files"]
    assert finding["verdict"] == "not checked"
    assert "kit_app:create_app() cannot be imported here: " in finding["says"]
    assert report.with_verdict("not checked") == {"body-size", "database-connections", "pool-threads"}
    assert report.code == 0


@pytest.mark.usefixtures("compose_plugin")
def test_an_application_that_ends_the_process_is_not_checked(make_kit: MakeKit) -> None:
    kit = make_kit()
    (kit.root / "app" / "kit_app.py").write_text("import os\nos._exit(3)\n")

    report = kit.doctor("--json")

    assert report.rules()["body-size"]["files"]["says"] == "the application: it ended the process while it was imported"
    assert report.rules()["request-timeout"]["verdict"] == "ok"


@pytest.mark.usefixtures("compose_plugin")
def test_an_application_that_is_not_flask_is_not_checked(make_kit: MakeKit) -> None:
    kit = make_kit()
    (kit.root / "app" / "plain.py").write_text("def app(environ, start_response):\n    return []\n")
    (kit.root / ".env").write_text("APP_MODULE=plain:app\n")

    assert kit.doctor("--json").rules()["body-size"]["files"]["says"] == "plain:app is not a Flask application"


@pytest.mark.usefixtures("compose_plugin")
def test_another_application_than_the_sample_site_is_judged(make_kit: MakeKit) -> None:
    """Its own limit is read: this one has none, so nginx's is the only one."""
    kit = make_kit()
    (kit.root / "app" / "other.py").write_text("import flask\napp = flask.Flask('other')\n")
    (kit.root / ".env").write_text("APP_MODULE=other:app\n")

    report = kit.doctor("--json")

    assert report.with_verdict("warn") == {"body-size"}
    assert report.with_verdict("BROKEN") == set()
    assert report.shown("body-size")["MAX_CONTENT_LENGTH"] == "none"
    assert report.rules()["pool-threads"]["files"]["says"] == "the application does not use Flask-SQLAlchemy"


def test_without_docker_the_rest_is_checked(make_kit: MakeKit, tmp_path: Path) -> None:
    """All programs of this machine but docker."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in Path(folder).glob("*"):
            link = programs / program.name
            if program.name != "docker" and not link.is_symlink():
                link.symlink_to(program)

    report = make_kit(app=True).doctor("--json", env={"PATH": str(programs)})

    reason = "docker is not installed, so the Compose file cannot be resolved"
    assert report.rules()["ports"]["files"] == {"verdict": "not checked", "says": reason, "values": [], "edit": []}
    assert {"request-timeout", "header-line", "body-size", "buffering", "forwarded-allow-ips"} <= report.with_verdict("ok")
    assert report.code == 0


@pytest.mark.usefixtures("compose_plugin")
def test_the_doctor_needs_little(make_kit: MakeKit, tmp_path: Path) -> None:
    """Copied into another project, with a Python that has what the doctor imports and neither gunicorn nor Flask."""
    kit = make_kit()
    shutil.copytree(ROOT / "tools" / "doctor", kit.root / "tools" / "doctor", ignore=shutil.ignore_patterns("__pycache__"))
    python = bare_python(tmp_path / "venv")

    report = kit.doctor("--json", python=python, cwd=kit.root)

    assert report.rules()["request-timeout"]["files"]["says"] == f"gunicorn is not installed for {python}"
    assert {"ports", "buffering", "temp-files", "tmpfs-memory", "max-fails"} <= report.with_verdict("ok")
    assert report.code == 0


def bare_python(folder: Path) -> str:
    """Make a virtual environment with nothing but the doctor's own dependencies."""
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/*/site-packages")
    for name in ("click", "crossplane", "dotenv", "yaml"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        (packages / name).symlink_to(Path(spec.origin).parent)
    return str(folder / "bin" / "python")
