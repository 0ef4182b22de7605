"""A wrong setting stops the start with one line that names it."""

import subprocess
import sys
from pathlib import Path

import pytest

from kit_app import create_app
from kit_app.settings import SettingsError, load_settings
from tests.app.conftest import MakeApp
from tests.app.server import ROOT, SECRET, environment, gunicorn_command

WRONG = [
    ("APP_ENV", "prod"),
    ("DATABASE_POOL_SIZE", "abc"),
    ("DATABASE_POOL_SIZE", "0"),
    ("DATABASE_URL", "database:5432"),
    ("DATABASE_URL", "mysql://user@host/name"),
    ("DATABASE_URL", "postgresql://user@host:port/name"),
    ("DATABASE_URL", "sqlite://"),
    ("DATABASE_URL", "sqlite:///:memory:"),
    ("DATABASE_PASSWORD_FILE", "/does/not/exist"),
    ("SECRET_KEY", "short"),
    ("SECRET_KEY_FILE", "/does/not/exist"),
    ("SECRET_KEY_FILE", "/dev/null"),  # shorter than 16 characters
    ("MAX_CONTENT_LENGTH", "-1"),
    ("MAX_CONTENT_LENGTH", "10M"),
    ("FORWARDED_ALLOW_IPS", "*"),
    ("FORWARDED_ALLOW_IPS", "0.0.0.0/0"),
    ("FORWARDED_ALLOW_IPS", "gateway"),
    ("LOG_FORMAT", "xml"),
    ("LAB_ENABLED", "maybe"),
    ("LAB_DOWNSTREAM_URL", "downstream"),
    ("WORKER_CONCURRENCY", "0"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_refused_by_its_name(tmp_path: Path, name: str, value: str) -> None:
    given = {"SECRET_KEY": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/db", "LAB_ENABLED": "1", name: value}
    with pytest.raises(SettingsError) as refusal:
        create_app(given)

    assert str(refusal.value).startswith(f"{name}: ")
    assert "\n" not in str(refusal.value)


def test_several_wrong_settings_are_all_named() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings({"LOG_FORMAT": "xml", "APP_ENV": "prod"})

    assert [line.partition(":")[0] for line in str(refusal.value).splitlines()] == ["APP_ENV", "LOG_FORMAT"]


def test_a_refusal_does_not_tell_the_password() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings({"DATABASE_URL": "mysql://user:hunter2@host/name"})

    assert "hunter2" not in str(refusal.value)


def test_an_empty_value_counts_as_not_set() -> None:
    settings = load_settings({"DATABASE_POOL_SIZE": "", "LOG_FORMAT": "", "STATIC_ROOT": ""})

    assert settings == load_settings({})


def test_production_without_a_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SECRET_KEY or SECRET_KEY_FILE"):
        create_app({"SECRET_KEY": "", "DATABASE_URL": f"sqlite:///{tmp_path}/db"})


def test_development_without_a_secret_is_warned_about(make_app: MakeApp, capsys: pytest.CaptureFixture[str]) -> None:
    make_app(SECRET_KEY="", APP_ENV="development")

    assert "publicly known" in capsys.readouterr().out


def test_secret_and_password_are_read_from_files(tmp_path: Path) -> None:
    secret, password_file = tmp_path / "secret", tmp_path / "password"
    secret.write_text(f"{SECRET}\n")
    password_file.write_text("p@ss/word\n")
    settings = load_settings(
        {"SECRET_KEY_FILE": str(secret), "DATABASE_PASSWORD_FILE": str(password_file), "DATABASE_URL": "postgresql://user@host/name"}
    )

    assert settings.secret == SECRET
    assert settings.database.render_as_string(hide_password=False).startswith("postgresql+psycopg://user:p%40ss%2Fword@")


def start(command: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(**settings), capture_output=True, text=True, timeout=150, check=False)


def flask(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return start([sys.executable, "-m", "flask", "--app", "kit_app", *arguments], PYTHONPATH=str(ROOT / "app"), **settings)


@pytest.mark.parametrize("arguments", [("--workers", "1"), ("--workers", "1", "--preload"), ("--workers", "3")])
@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_gunicorn_stops_with_the_line(tmp_path: Path, worker_class: str, arguments: tuple[str, ...]) -> None:
    settings = {"GUNICORN_WORKER_CLASS": worker_class, "SECRET_KEY": "", "DATABASE_URL": f"sqlite:///{tmp_path}/db"}

    done = start(gunicorn_command(*arguments), **settings)

    assert done.returncode != 0
    assert "SECRET_KEY or SECRET_KEY_FILE must be set" in done.stderr
    # With several, the master of gunicorn 27.0.1 may add a traceback of its own: one fails while it halts for another.
    assert "3" in arguments or "Traceback" not in done.stdout + done.stderr


def test_flask_stops_with_the_line_and_no_traceback(tmp_path: Path) -> None:
    done = flask("db", "upgrade", LOG_FORMAT="xml", DATABASE_URL=f"sqlite:///{tmp_path}/db")

    assert (done.returncode, done.stderr) == (4, "LOG_FORMAT: Input should be 'auto', 'json' or 'text'\n")


def test_migrations_without_a_database_end_with_a_line_and_no_traceback(free_port: int) -> None:
    done = flask("db", "upgrade", DATABASE_URL=f"postgresql://kit@127.0.0.1:{free_port}/kit")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Error: the database: " in done.stderr
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(
    ("concurrency", "given", "size"), [(1, "", 1), (8, "", 8), (32, "", 32), (1000, "", 8), (8, 4, 4), (8, 8, 8), (8, 20, 20), (1000, 2, 2)]
)
def test_the_pool_follows_the_concurrency_and_a_smaller_one_is_warned_about(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str], concurrency: int, given: object, size: int
) -> None:
    app = make_app(WORKER_CONCURRENCY=concurrency, DATABASE_POOL_SIZE=given)

    assert app.config["SQLALCHEMY_ENGINE_OPTIONS"]["pool_size"] == size
    assert capsys.readouterr().out.count("pool is smaller than the number of threads") == (size in {2, 4})
